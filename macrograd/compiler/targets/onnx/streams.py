"""A stream as data: a loop whose rounds are the records, so that the number of operators does not depend on its length.

The loop carries slots as rows, [slots, samples]. A round gathers the operands of up to `width` members of a record,
computes their operation, which a tree of branches selects by its number, and scatters the results to their rows. Two
extra rows serve the members that a record lacks: one for them to read and one to write.

A runtime copies the carried rows in every round. So there are two loops: the outer one carries all rows, and passes the
inner one only those that a part of the records uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from macrograd import ops
from macrograd.compiler.program.stream import FUSED, MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.targets.onnx.graph import Graph, Node
from macrograd.compiler.targets.onnx.operations import Writing, spell
from macrograd.compiler.targets.onnx.scope import Scope
from macrograd.compiler.targets.onnx.tensor import Slots, slot_axis

_SPARE = 1.25  # times as many rounds as records, at most
_WHOLE = np.dtype(np.int64)
_TABLES = ("rows", "choices", "operation", "results", "first", "second", "third")
Record = tuple[int, Slots, Slots]


def lower_stream(stream: Stream, scope: Scope) -> None:
    """Compute the records of a stream."""
    space = "v" if stream.block else "u"
    records = [(code, out.astype(np.int64), rows.astype(np.int64)) for code, out, rows in stream.plain()]
    for code, out, rows in records:
        if code == SPREAD:
            wide = Writing(scope.graph).Expand(scope.read("u", rows[0]), _lengths(scope, len(out)))
            scope.define("v", out, scope.flat(wide, len(out), "v"))
    computed = [record for record in records if record[0] not in (SPREAD, TOTAL, MORE)]
    if computed:
        _Loop(computed, scope, space).lower()
    _totals([record for record in records if record[0] in (TOTAL, MORE)], scope)


def _lengths(scope: Scope, count: int) -> str:
    """The shape [samples, count]."""
    return str(Writing(scope.graph).Concat(scope.samples, scope.graph.integers(count), axis=0))


class _Loop:
    """The records that compute slots from slots."""

    def __init__(self, records: Sequence[Record], scope: Scope, space: str) -> None:
        self.scope, self.space = scope, space
        self.written = np.unique(np.concatenate([out for _, out, _ in records]))
        read = np.unique(np.concatenate([rows.ravel() for _, _, rows in records]))
        self.given = np.setdiff1d(read, self.written)
        self.codes = sorted({code for code, _, _ in records})
        self.data = _Data(records, np.concatenate([self.given, self.written]), self.codes)

    def lower(self) -> None:
        scope, graph, axis = self.scope, self.scope.graph, slot_axis(self.space)
        o, data, given, written = Writing(graph), self.data, len(self.given), len(self.written)
        samples = scope.samples if axis else graph.integers(1)
        parts = [o.Expand(0.0, o.Concat(graph.integers(written + 2), samples, axis=0))]
        if given:
            known = scope.read(self.space, self.given)
            parts.insert(0, graph.transpose(known, (1, 0)) if axis else graph.reshape(known, given, 1))
        begun = self._rows(graph, o.Concat(*parts, axis=0) if len(parts) > 1 else parts[0], given + written + 2)
        part = Graph(graph.dtype, around=graph)
        rows = self._rows(part, part.name("rows"), given + written + 2)
        tables = [
            part.shaped(part.name(name), table.shape[1:]) for name, table in zip(_TABLES, data.tables, strict=True)
        ]
        part.inputs = [(rows, graph.dtype), *((name, _WHOLE) for name in tables)]
        inside, (local, choices, *rounds) = Writing(part), tables
        some = self._rows(part, inside.Gather(rows, local, axis=0), data.local)
        after = self._rows(part, part.name("rows"), data.local)
        bodies = {"body": self._round(part, choices)}
        part.nodes.append(Node("Scan", [some, *rounds], [after], bodies=bodies, states=1))
        part.outputs = [inside.ScatterND(rows, inside.Unsqueeze(local, np.array([1])), after)]
        self._rows(part, part.outputs[0], given + written + 2)
        end = graph.name("rows")
        inputs = [begun, *(o.whole(graph.constant(table, np.int32)) for table in data.tables)]
        graph.nodes.append(Node("Scan", inputs, [end], bodies={"body": part}, states=1))
        found = o.Slice(end, np.array([given]), np.array([given + written]), np.array([0]))
        flat = o.Transpose(found, perm=(1, 0)) if axis else graph.reshape(found, written)
        scope.define(self.space, self.written, scope.flat(flat, written, self.space))

    def _rows(self, graph: Graph, name: str, count: int) -> str:
        """The value, with the shape of `count` slots as rows recorded."""
        return graph.shaped(name, (count, -1 if self.space == "v" else 1))

    def _round(self, around: Graph, choices: str) -> Graph:
        """The body of the inner loop: one round."""
        graph, width, count = Graph(around.dtype, around=around), self.data.width, self.data.local
        rows, code = self._rows(graph, graph.name("rows"), count), graph.shaped(graph.name("operation"), ())
        names = [graph.shaped(graph.name(what), (width,)) for what in _TABLES[3:]]
        graph.inputs = [(rows, graph.dtype), *((name, _WHOLE) for name in (code, *names))]
        o = Writing(graph)

        def leaf(branch: Graph, code: int) -> str:
            b, arity = Writing(branch), 3 if code == FUSED else ops.TABLE[code].arity or 1
            operands = [b.Gather(rows, name, axis=0) for name in names[1 : 1 + arity]]
            if code == ops.take.code:
                return _chosen(branch, rows, operands[0], names[2], names[3], choices)
            if code == FUSED:
                return str(b.Add(b.Mul(operands[0], operands[1]), operands[2]))
            return spell(branch, ops.TABLE[code], operands)

        found = self._choice(graph, code, 0, len(self.codes), leaf)
        graph.outputs = [self._rows(graph, o.ScatterND(rows, o.Unsqueeze(names[0], np.array([1])), found), count)]
        return graph

    def _choice(self, graph: Graph, code: str, first: int, end: int, leaf: Callable[[Graph, int], str]) -> str:
        """The result of the operation with that number, one of first … end − 1: a binary tree of branches."""
        if end - first == 1:
            return leaf(graph, self.codes[first])
        middle = (first + end) // 2
        branches = {}
        for name, part in (("then_branch", (first, middle)), ("else_branch", (middle, end))):
            branch = Graph(graph.dtype, around=graph, lazy=True)
            branch.outputs = [branch.renamed(self._shaped(self._choice(branch, code, *part, leaf), branch))]
            branches[name] = branch
        out = self._shaped(graph.name("chosen"), graph)
        graph.nodes.append(Node("If", [Writing(graph).Less(code, middle)], [out], bodies=branches))
        return out

    def _shaped(self, name: str, graph: Graph) -> str:
        return self._rows(graph, name, self.data.width)


def _chosen(graph: Graph, rows: str, index: str, begin: str, count: str, choices: str) -> str:
    """For each member, the row that its index chooses."""
    o = Writing(graph)
    begin, count = (o.Unsqueeze(name, np.array([1])) for name in (begin, count))
    good = o.And(o.Equal(index, o.Floor(index)), o.And(o.GreaterOrEqual(index, 0.0), o.Less(index, o.real(count))))
    at = o.Add(begin, o.whole(o.Where(good, index, 0.0)))
    missing = np.iinfo(np.int32).max  # no row: the runtime stops
    return str(o.GatherElements(rows, o.Where(good, o.Gather(choices, at, axis=0), missing), axis=0))


class _Data:
    """Records as tables, cut into parts of equal length, each of which works on a copy of the rows that it needs.

    width   the number of members that a round computes
    local   the number of rows that a part works on
    tables  for each part, the rows that it works on and those that its takes choose among; for each round, the number
            of the operation, the rows of its results, and the rows of three operands. For a take these are the index,
            where its choices begin, and how many there are
    """

    def __init__(self, records: Sequence[Record], order: Slots, codes: Sequence[int]) -> None:
        row = np.zeros(int(order.max()) + 1, dtype=np.int64)
        row[order] = np.arange(len(order))
        self._nothing, self._waste = len(order), len(order) + 1
        sizes = np.array([len(out) for _, out, _ in records])
        self.width = 1
        while (-(-sizes // self.width)).sum() > _SPARE * len(records):
            self.width *= 2
        rounds, choices = self._rounds(records, row)
        length = max(16, int(np.sqrt(len(order) / self.width) / 2))
        parts = [self._part(rounds[at : at + length], choices, length) for at in range(0, len(rounds), length)]
        self.local, most = (max(len(part[k]) for part in parts) for k in (0, 1))
        local = [np.append(part[0], [self._waste] * (self.local - len(part[0]))) for part in parts]
        chosen = [np.append(part[1], [0] * (most - len(part[1]))) for part in parts]
        code = [[codes.index(code) for code, _ in part[2]] for part in parts]
        data = np.array([[lines for _, lines in part[2]] for part in parts])
        self.tables = [np.array(x, dtype=np.int64) for x in (local, chosen, code, *np.moveaxis(data, 2, 0))]

    def _rounds(self, records: Sequence[Record], row: Slots) -> tuple[list[tuple[int, Slots]], Slots]:
        """The operation and rows of each round, and the rows that takes choose among."""
        rounds: list[tuple[int, Slots]] = []
        choices, chosen = [np.empty(0, dtype=np.int64)], 0
        for code, out, rows in records:
            lines = [row[out], *row[rows]]
            if code == ops.take.code:
                count = len(rows) - 1
                choices.append(row[rows[1:]].T.ravel())
                lines = [*lines[:2], chosen + count * np.arange(len(out)), np.full(len(out), count)]
                chosen += count * len(out)
            lines += [np.full(len(out), self._nothing)] * (4 - len(lines))
            for at in range(0, len(out), self.width):
                whole = self._idle(code, int(lines[2][at]))
                some = np.array([line[at : at + self.width] for line in lines])
                whole[:, : some.shape[1]] = some
                rounds.append((code, whole))
        return rounds, np.concatenate(choices)

    def _idle(self, code: int, begin: int) -> Slots:
        """Rows of members that compute nothing; those of a take have one choice."""
        found = np.full((4, self.width), self._nothing)
        found[0] = self._waste
        if code == ops.take.code:
            found[2:] = [[begin], [1]]
        return found

    def _part(
        self, rounds: list[tuple[int, Slots]], choices: Slots, length: int
    ) -> tuple[Slots, Slots, list[tuple[int, Slots]]]:
        """The rows of a part, its choices as positions among them, and its rounds with rows as such positions."""
        rounds = rounds + [(rounds[0][0], self._idle(rounds[0][0], int(rounds[0][1][2, 0])))] * (length - len(rounds))
        takes = [lines for code, lines in rounds if code == ops.take.code]
        first = min((int(lines[2].min()) for lines in takes), default=0)
        end = max((int((lines[2] + lines[3]).max()) for lines in takes), default=0)
        chosen = choices[first:end] if takes else np.array([self._nothing])
        named = [lines[:2] if code == ops.take.code else lines for code, lines in rounds]
        rows = np.unique(np.concatenate([chosen, [self._nothing, self._waste], *(lines.ravel() for lines in named)]))
        found = []
        for code, lines in rounds:
            moved = np.searchsorted(rows, lines)
            if code == ops.take.code:
                moved[2:] = lines[2:] - [[first], [0]]
            found.append((code, moved))
        return rows, np.searchsorted(rows, chosen), found


def _totals(records: Sequence[Record], scope: Scope) -> None:
    """Sums over the samples; those with the same result are added up."""
    if not records:
        return
    o, outs, sums = Writing(scope.graph), [], []
    for arity in (1, 2):
        mine = [(out, rows) for _, out, rows in records if len(rows) == arity]
        if mine:
            factors = [scope.read("v", np.concatenate([rows[k] for _, rows in mine])) for k in range(arity)]
            sums.append(o.ReduceSum(factors[0] if arity == 1 else o.Mul(*factors), np.array([0]), keepdims=0))
            outs += [out for out, _ in mine]
    begun = np.concatenate([out for code, out, _ in records if code == TOTAL])
    assert set(begun.tolist()) >= {slot for _, out, _ in records for slot in out.tolist()}
    slots, at = np.unique(np.concatenate(outs), return_inverse=True)
    every = o.Concat(*sums, axis=0) if len(sums) > 1 else sums[0]
    zeros = scope.graph.constant(np.zeros(len(slots)))
    found = o.ScatterElements(zeros, scope.graph.constant(at.ravel(), np.int64), every, axis=0, reduction="add")
    scope.define("u", slots, scope.flat(found, len(slots), "u"))
