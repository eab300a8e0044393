"""A C99 file that trains: the loss and its gradient over a batch, and the optimiser's update of every parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.compiler.step import recorded_update
from macrograd.compiler.targets.c.lower import Lowered
from macrograd.compiler.targets.c.target import C, machine_for
from macrograd.compiler.targets.c.vectors import with_vectors
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.registers import fits
from macrograd.compiler.targets.target import Request
from macrograd.exporting.arrays_c import array, literal
from macrograd.exporting.c import Written, includes, index_tables, needs
from macrograd.exporting.names_c import NamesInC, harmless, header_of
from macrograd.exporting.sizes_c import constant_bytes, scratch_bytes, stated
from macrograd.exporting.subject import Examples, kept_states, steps_done
from macrograd.exporting.train_predict_c import PredictorInC
from macrograd.exporting.train_selftest_c import training_selftest
from macrograd.nn.dropout import PERIOD
from macrograd.optim import Optimizer
from macrograd.value import Value


def write_training(
    compiled: Compiled, optimizer: Optimizer, states_of: dict[Value, tuple[float, ...]], prefix: str, lanes: int,
    header: str | None, name: str, called: NamesInC, examples: Examples, outputs: Compiled | None = None,
) -> Written:  # fmt: skip
    """The file of a traced loss of one sample and the optimiser that minimises it.

    `states_of` is the optimiser's state of parameters that it has already moved, `called` the names of a trained
    model's numbers. `lanes` samples are computed side by side, and as many parameters updated: more lanes are faster
    and take more memory. The file also predicts if it knows the model's `outputs`.
    """
    special = compiled._traced()
    special.check_scalar()
    strict = compiled.strict
    machine = machine_for(compiled.dtype, lanes, batch=True, strict=strict)
    program = pipeline.for_file(pipeline.gradient_program(special.source, batch=True, strict=strict))
    states = len(optimizer.initial_state)
    update = recorded_update(optimizer.rule, states, strict=strict)
    wanted = Request(program, tuple(special.sizes), 0, compiled.dtype, strict)
    rule_wanted = Request(update.program, (1,) * (2 + states), 1 + states, compiled.dtype, strict)
    targets = (
        [0, *range(2, 2 + states)] if program.parameters and fits(update.program) else None
    )  # of the results, in the order of the inputs
    file = _Training(
        prefix, compiled, special.sizes, program, C().write(wanted, prefix, lanes=lanes),
        update.program, C().write(rule_wanted, f"{prefix}_update", lanes=lanes, targets=targets), machine, states,
        called,
        None if outputs is None else PredictorInC(outputs, special.parameters, prefix, terms=machine.width > 1),
    )  # fmt: skip
    memory = kept_states(optimizer, states_of, special.parameters)
    done = steps_done(optimizer, states_of, special.parameters)
    weights = np.concatenate([[p.data for p in special.parameters], program.constants]).astype(compiled.dtype)
    rule = np.concatenate([update.numbers, update.program.constants]).astype(compiled.dtype)
    body = file.body(weights.tolist(), rule.tolist(), memory, optimizer, done)
    constants, scratch = constant_bytes(body) + called.constants(), scratch_bytes(body)
    interface = file.interface(name, stated(constants, file.state_bytes(), scratch))
    parts = [
        interface if header is None else f'#include "{header}"\n',
        *body,
        training_selftest(compiled, optimizer, memory, done, prefix, file.real, examples),
    ]
    outer = header_of(prefix, interface)
    return Written("\n".join(part for part in parts if part), outer, constants, file.state_bytes(), scratch)


class _Training:
    """The parts of the file."""

    def __init__(
        self,
        prefix: str,
        compiled: Compiled,
        sizes: list[int],
        program: Program,
        lowered: Lowered,
        rule: Program,
        lowered_update: Lowered,
        machine: Machine,
        states: int,
        called: NamesInC,
        predictor: PredictorInC | None,
    ) -> None:
        self.called, self.predictor = called, predictor
        self.prefix, self.compiled, self.sizes, self.machine, self.states = prefix, compiled, sizes, machine, states
        self.program, self.lowered, self.rule, self.lowered_update = program, lowered, rule, lowered_update
        self.real = machine.kind.name
        self.count = program.parameters
        self.value = program.results[0][1]
        self.in_registers = bool(self.count) and fits(rule)

    def _lengths(self) -> dict[str, int]:
        lanes = self.machine.lanes
        return {
            "u": max(1, self.program.uniform),
            "v": max(1, self.program.varying * lanes),
            "update_u": max(1, self.rule.uniform),
            "update_v": 1 if self.in_registers else max(1, self.rule.varying * lanes),
            "memory": max(1, self.states * self.count),
        }

    def state_bytes(self) -> int:
        return self.machine.kind.bytes * sum(self._lengths().values()) + (24 if self.real == "double" else 20)

    def interface(self, name: str, sizes: str) -> str:
        prefix, real, upper, size = self.prefix, self.real, self.prefix.upper(), self._lengths()
        inputs = self.called.inputs("", target=True) if self.called.known else self._arguments()
        predicts, predictor = ("", "") if self.predictor is None else (
            self.predictor.described(), self.predictor.interface()
        )  # fmt: skip
        return f"""/* Training of {harmless(name)}, written by macrograd. C99; {needs(strict=self.compiled.strict)}.

   {prefix}_init sets the parameters and the optimiser's state to those at export.
   -DMACROGRAD_SELFTEST adds a main that trains and compares the losses with macrograd's.
   {prefix}_step does one step on a batch, {upper}_INPUTS numbers for each sample, one sample after another, and
   returns the mean loss before it. If the loss or its gradient is not finite, or an index is out of range, nothing is
   changed and NaN is returned.
   The parameters are u[0] to u[{self.count - 1}] of the state, to be read and written at any time.
{predicts}{sizes}{self.called.described()}   The numbers of a sample:
{inputs}
*/
#include <stdint.h>

#define {upper}_INPUTS {sum(self.sizes)}
#define {upper}_PARAMETERS {self.count}

typedef struct {{
    {real} u[{size["update_u"]}];
    {real} v[{size["update_v"]}];
    int32_t valid;
    int32_t flag;
}} {prefix}_update_state;

typedef struct {{
    {real} u[{size["u"]}];
    {real} v[{size["v"]}];
    {real} memory[{size["memory"]}];
    {prefix}_update_state update;
    int32_t steps;
    int32_t valid;
    int32_t flag;
}} {prefix}_state;

void {prefix}_init({prefix}_state *s);
{real} {prefix}_step({prefix}_state *s, const {real} *batch, int32_t samples, {real} rate);
{predictor}{self.called.heads()}"""

    def _arguments(self) -> str:
        at, lines = 0, []
        for k, n in enumerate(self.sizes):
            where = f"[{at}]" if n == 1 else f"[{at}] to [{at + n - 1}]"
            lines.append(f"     {harmless(self.compiled.argument(k))}: {where}")
            at += n
        return "\n".join(lines)

    def body(
        self,
        weights: Sequence[float],
        rule: Sequence[float],
        memory: Sequence[float] | None,
        optimizer: Optimizer,
        done: int,
    ) -> list[str]:
        """The arrays and functions: the numbers of the loss and of the update rule, the optimiser's `memory` of
        parameters that it moved in the steps `done`, if any."""
        prefix, real, predictor = self.prefix, self.real, self.predictor
        return [
            includes(real, self.functions(), strict=self.compiled.strict),
            array(f"{real} {prefix}_w", [literal(x, real) for x in weights]),
            array(f"{real} {prefix}_update_w", [literal(x, real) for x in rule]),
            "" if memory is None else array(f"{real} {prefix}_memory", [literal(x, real) for x in memory]),
            index_tables(prefix, self.lowered),
            index_tables(f"{prefix}_update", self.lowered_update),
            *([] if predictor is None else predictor.arrays()),
            *with_vectors(
                prefix,
                real,
                [
                    *self.functions(),
                    self.init(len(weights), len(rule), optimizer, done, kept=memory is not None),
                    self.update(self.rule.first_uniform_input),
                    self.step(),
                    *([] if predictor is None else [predictor.function()]),
                ],
                strict=self.compiled.strict,
                width=self.machine.width,
            ),
            self.called.functions(),
        ]

    def functions(self) -> list[str]:
        """The functions of all programs, with shared ones once."""
        more = [] if self.predictor is None else self.predictor.lowered.functions
        return list(dict.fromkeys([*self.lowered.functions, *self.lowered_update.functions, *more]))

    def init(self, weights: int, rule: int, optimizer: Optimizer, done: int, *, kept: bool) -> str:
        prefix = self.prefix
        memory = [
            f"    for (int32_t i = 0; i < {self.count}; ++i) s->memory[{k * self.count} + i] = {literal(x, self.real)};"
            for k, x in enumerate(optimizer.initial_state)
        ]
        if kept:
            memory = [
                f"    for (int32_t i = 0; i < {self._lengths()['memory']}; ++i) s->memory[i] = {prefix}_memory[i];"
            ]
        return "\n".join([
            f"void {prefix}_init({prefix}_state *s) {{",
            f"    for (int32_t i = 0; i < {weights}; ++i) s->u[i] = {prefix}_w[i];",
            f"    for (int32_t i = 0; i < {rule}; ++i) s->update.u[i] = {prefix}_update_w[i];" if rule else "",
            *memory,
            f"    s->steps = {done};",
            "    s->flag = 0;",
            "    s->valid = 0;",
            "}",
            "",
        ])  # fmt: skip

    def update(self, first_uniform: int) -> str:
        """Update all parameters, one block at a time."""
        prefix, lanes, first = self.prefix, self.machine.lanes, self.value + 1
        begun = [
            f"static void {prefix}_update({prefix}_state *s, {self.real} rate) {{",
            f"    s->update.u[{first_uniform}] = rate;",
            f"    s->update.u[{first_uniform + 1}] = ({self.real})s->steps;",
            *self._phase(self.lowered_update, "before", "&s->update"),
        ]
        if self.in_registers:
            return "\n".join([*begun, *self._update_arrays(first), "}", ""])
        sources = [
            "s->u + i",
            f"s->u + {first} + i",
            *(f"s->memory + {j * self.count} + i" for j in range(self.states)),
        ]
        gather = [(f"v + {lanes * j}", source) for j, source in enumerate(sources)]
        scatter = [
            (target, f"v + {slot * lanes}" if space == "v" else f"s->update.u[{slot}]")
            for target, (space, slot) in zip([sources[0], *sources[2:]], self.rule.results, strict=True)
        ]
        return "\n".join([
            *begun,
            f"    {self.real} *v = s->update.v;",
            f"    for (int32_t i = 0; i < {self.count}; i += {lanes}) {{",
            f"        const int32_t n = {self.count} - i < {lanes} ? {self.count} - i : {lanes};",
            *self._copies(gather),
            *(f"    {line}" for line in self._phase(self.lowered_update, "block", "&s->update")),
            *self._copies(scatter),
            "    }",
            "}",
            "",
        ])  # fmt: skip

    def _update_arrays(self, first: int) -> list[str]:
        """Calls of a rule in registers: for whole vectors in the state, and for the rest in a copy."""
        width, n, block = self.machine.width, self.count, self.lowered_update.phases["block"]
        sources = ["s->u", f"s->u + {first}", *(f"s->memory + {j * n}" for j in range(self.states))]
        whole, rest = n - n % width, n % width
        lines = [f"    {block}(&s->update, {whole}, {', '.join(sources)});"] if whole else []
        if rest:
            at = [f"({source})[{whole} + k]" for source in sources]
            names = [f"rest[{j}]" for j in range(len(sources))]
            copies = [f"{name}[k] = {x};" for name, x in zip(names, at, strict=True)]
            back = [f"{x} = {name}[k];" for j, (name, x) in enumerate(zip(names, at, strict=True)) if j != 1]
            lines += [
                f"    {self.real} rest[{len(sources)}][{width}] = {{{{0}}}};",
                f"    for (int k = 0; k < {rest}; ++k) {{ {' '.join(copies)} }}",
                f"    {block}(&s->update, {width}, {', '.join(names)});",
                f"    for (int k = 0; k < {rest}; ++k) {{ {' '.join(back)} }}",
            ]
        return lines

    def _copies(self, pairs: list[tuple[str, str]]) -> list[str]:
        """Copies of n lanes, or of one number to n lanes, as (target, source). Usually n is all lanes."""
        lanes, width = self.machine.lanes, self.machine.width
        full, rest = [], []
        for target, source in pairs:
            many = "[" not in source
            rest.append(f"for (int32_t k = 0; k < n; ++k) ({target})[k] = {f'({source})[k]' if many else source};")
            wide = f"LOAD({source} + j)" if many else f"ALL({source})"
            full.append(f"for (int32_t j = 0; j < {lanes}; j += W) STORE({target} + j, {wide});")
        if width == 1:
            return [f"        {line}" for line in rest]
        return [
            f"        if (n == {lanes}) {{",
            *(f"            {line}" for line in full),
            "        } else {",
            *(f"            {line}" for line in rest),
            "        }",
        ]

    def step(self) -> str:
        prefix, real, lanes, inputs = self.prefix, self.real, self.machine.lanes, sum(self.sizes)
        share_of = f"1 / ({real})samples"
        if real == "float" and self.compiled.strict:
            share_of = "(float)(1.0 / (double)samples)"  # as compiled code has it
        held = self.program.held
        weight = self.program.weight
        share = (
            f"            s->v[{(weight or 0) * lanes} + k] = k < s->valid ? scale : 0;" if weight is not None else ""
        )
        from_, whole = "0", 0
        if self.machine.scalable and inputs >= self.machine.width:
            whole = inputs - inputs % self.machine.width
            from_ = f"s->valid == {lanes} ? {whole} : 0"
        turned = [
            f"        if (s->valid == {lanes})",
            f"            for (int32_t k = 0; k < {lanes}; k += W)",
            f"                for (int32_t i = 0; i < {whole}; i += W)",
            f"                    TURN(s->v + i * {lanes} + k, {lanes}, batch + (first + k) * {inputs} + i, {inputs});",
        ]
        return "\n".join(filter(None, [
            f"{real} {prefix}_step({prefix}_state *s, const {real} *batch, int32_t samples, {real} rate) {{",
            f"    const {real} scale = {share_of};",
            "    s->flag = 0;",
            f"    for (int32_t i = {held}; i < {self._lengths()['u']}; ++i) s->u[i] = 0;",
            f"    s->u[{self.program.first_uniform_input}] = ({real})((s->steps + 1) % {PERIOD});"
            if self.program.uniform_inputs
            else "",
            *self._phase(self.lowered, "before", "s"),
            f"    for (int32_t first = 0; first < samples; first += {lanes}) {{",
            f"        s->valid = samples - first < {lanes} ? samples - first : {lanes};",
            *(turned if whole else []),
            f"        for (int32_t k = 0; k < {lanes}; ++k) {{",
            "            const int32_t row = first + (k < s->valid ? k : s->valid - 1);",
            f"            for (int32_t i = {from_}; i < {inputs}; ++i)",
            f"                s->v[i * {lanes} + k] = batch[row * {inputs} + i];",
            share,
            "        }",
            *(f"    {line}" for line in self._phase(self.lowered, "block", "s")),
            "    }",
            *self._phase(self.lowered, "after", "s"),
            f"    const {real} loss = s->u[{self.value}];",
            *self._odd(),
            "    ++s->steps;",
            f"    {prefix}_update(s, rate);",
            "    return loss;",
            "}",
            "",
        ]))  # fmt: skip

    def _odd(self) -> list[str]:
        """Return NaN unless the loss and its gradient are finite. There are several sums, because each addition to a
        single one would wait for the one before."""
        real, first, n, width = self.real, self.value + 1, self.count, self.machine.width
        nan, zero = f"({real})(0.0 / 0.0)", f"ALL({literal(0.0, real)})"
        if width == 1:
            return [
                f"    {real} odd[16] = {{s->flag ? {nan} : loss * 0}};",
                f"    for (int32_t i = 0; i < {n - n % 16}; i += 16)",
                f"        for (int k = 0; k < 16; ++k) odd[k] += s->u[{first} + i + k] * 0;",
                f"    for (int k = 0; k < {n % 16}; ++k) odd[k] += s->u[{first + n - n % 16} + k] * 0;",
                f"    for (int k = 0; k < 16; ++k) if (odd[k] != 0) return {nan};",
            ]
        places = ("", " + W", " + 2 * W", " + 3 * W")
        return [
            f"    {real} odd[{4 * width}] = {{s->flag ? {nan} : loss * 0}};",
            f"    V odd0 = {zero}, odd1 = {zero}, odd2 = {zero}, odd3 = {zero};",
            f"    const {real} *g = s->u + {first}, *end = g + {n};",
            "    for (; g + 4 * W <= end; g += 4 * W) {",
            *(f"        odd{k} = odd{k} + LOAD(g{at}) * {zero};" for k, at in enumerate(places)),
            "    }",
            *(f"    STORE(odd{at}, LOAD(odd{at}) + odd{k});" for k, at in enumerate(places)),
            "    for (; g < end; ++g) odd[0] += *g * 0;",
            f"    for (int k = 0; k < 4 * W; ++k) if (odd[k] != 0) return {nan};",
        ]

    @staticmethod
    def _phase(lowered: Lowered, name: str, state: str) -> list[str]:
        function: Any = lowered.phases[name]
        return [f"    {function}({state});"] if function else []
