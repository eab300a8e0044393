"""Names in a C file: classes, categories and dates, as tables and the small functions that look them up.

A name from data is never part of an identifier. In comments it is made harmless; in strings every byte except letters,
digits and a few signs is an octal escape, so it can neither end the string nor form a trigraph.
"""

from __future__ import annotations

import re

import numpy as np

from macrograd.exporting.subject import Names

_LONGEST = 4000  # bytes; C99 promises 4,095 for a string
_PLAIN = re.compile(r"[A-Za-z0-9_ .,:;()+=<>'-]")


def harmless(text: str) -> str:
    """A name from data, safe for a comment: no end of comment, no trigraph, plain ASCII."""
    return re.sub(r"[^A-Za-z0-9_ .,:;()\[\]+=<>'-]", ".", text)[:60]


def header_of(prefix: str, interface: str) -> str:
    """The header with an interface, for C and for C++ that is linked to the file as C."""
    guard = f"{prefix.upper()}_H"
    begin, end = ("#ifdef __cplusplus\n" + text + "\n#endif\n" for text in ('extern "C" {', "}"))
    return f"#ifndef {guard}\n#define {guard}\n\n{begin}{interface}\n{end}#endif\n"


def string(text: str) -> str:
    """A C string that holds the text in UTF-8. Raises ValueError for text that a C string cannot hold."""
    data = text.encode("utf-8", "surrogatepass")
    if b"\0" in data or len(data) > _LONGEST:
        fault = "holds a NUL character" if b"\0" in data else f"has {len(data):,} bytes of UTF-8"
        raise ValueError(
            f"the name {text[:40]!r} {fault}, and a C string ends at NUL and has up to {_LONGEST:,} bytes: rename it"
        )
    return '"' + "".join(c if _PLAIN.match(c := chr(b)) else f"\\{b:03o}" for b in data) + '"'


class NamesInC:
    """The parts of a file about names; "" if there are none."""

    def __init__(self, names: Names | None, prefix: str, real: str) -> None:
        self._names, self._prefix, self._real = names, prefix, real
        self._classes = [] if names is None else names.classes
        self._how = "" if names is None else names.answers

    @property
    def known(self) -> bool:
        """Whether the numbers have names."""
        return self._names is not None

    def inputs(self, x: str, *, target: bool) -> str:
        """Lines for the comment, one per column, followed by the target; `x` is the name of the array."""
        assert self._names is not None
        names, at, lines = self._names, 0, []
        told = {place: k for k, (_, _, place) in enumerate(names.categories)}
        parts = {place: (k, found) for k, (_, found, _, place) in enumerate(names.dates)}
        for name, size in names.inputs:
            where = f"{x}[{at}]" if size == 1 else f"{x}[{at}] to {x}[{at + size - 1}]"
            how = f", as {self._prefix}_category({told[at]}, text) gives it" if at in told else ""
            if name in names.durations:
                how = ", in seconds"
            if at in parts:
                k, found = parts[at]
                how = f", {', '.join(found)}, as {self._prefix}_date({k}, ...) writes it"
                how += ", in UTC" * (name in names.utc)
            lines.append(f"     {where}: {harmless(name)}{how}")
            at += size
        if target:
            shape = names.targets.shape
            where = f"{x}[{at}]" if not shape else f"{x}[{at}] to {x}[{at + shape[0] - 1}]"
            lines.append(f"     {where}: {self._target()}")
            at += shape[0] if shape else 1
        if target and names.draws:
            lines.append(f"     {x}[{at}]: the number of the sample in its data, from 0, by which Dropout draws")
            lines += [f"     {x}[{at + 1}]: the number of the step, from 1"] if x else []
        return "\n".join(lines)

    def _target(self) -> str:
        assert self._names is not None
        if self._classes:
            return f"the number of its class, 0 to {len(self._classes) - 1}, as {self._prefix}_class counts"
        shape = self._names.targets.shape
        return f"{shape[0]} targets" if shape else "the target"

    def described(self) -> str:
        """The description of the functions, for the comment."""
        prefix, lines = self._prefix, []
        if self._how == "labels":
            lines.append(f"{prefix}_answer(y, k) is 1 if the outputs y say yes to label k, else 0.")
        elif self._how:
            lines.append(f"{prefix}_answer(y) is the number of the class that the outputs y predict, and")
            lines.append(f"{prefix}_class(k) the name of class k in UTF-8 (0 if there is none).")
        if self._names is not None and self._names.categories:
            lines.append(f"{prefix}_category(k, text) is the number that encodes a string in the k-th text column: the")
            lines.append("last one if training did not see the string, and -1, missing, if it is empty or 0.")
        if self._names is not None and self._names.dates:
            lines.append(
                f"{prefix}_date(k, x, year, month, day, hour) writes date k into the numbers x of a sample, the"
            )
            lines.append("hour with its fraction.")
        if self._names is not None and (self._names.categories or self._names.dates):
            lines.append("A missing number is NAN.")
        return "".join(f"   {line}\n" for line in lines)

    def heads(self) -> str:
        """The prototypes."""
        return "".join(f"{head};\n" for head in self._heads())

    def _heads(self) -> list[str]:
        prefix, real, heads = self._prefix, self._real, []
        if self._how == "labels":
            heads.append(f"int32_t {prefix}_answer(const {real} *y, int32_t k)")
        elif self._how:
            heads.append(f"int32_t {prefix}_answer(const {real} *y)")
            heads.append(f"const char *{prefix}_class(int32_t k)")
        if self._names is not None and self._names.categories:
            heads.append(f"int32_t {prefix}_category(int32_t column, const char *text)")
        if self._names is not None and self._names.dates:
            heads.append(
                f"void {prefix}_date(int32_t date, {real} *x, int32_t year, int32_t month, int32_t day, {real} hour)"
            )
        return heads

    def functions(self) -> str:
        """The definitions."""
        if self._names is None:
            return ""
        parts = []
        if self._how:
            parts.append(self._answer())
        if self._classes:
            parts.append(self._class())
        if self._names.categories:
            parts.append(self._category())
        if self._names.dates:
            parts.append(self._date())
        return "\n".join(parts)

    def constants(self) -> int:
        """The bytes of the names."""
        texts = [*self._classes]
        if self._names is not None:
            texts += [text for _, categories, _ in self._names.categories for text in categories]
        return sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)

    def _answer(self) -> str:
        head = self._heads()[0]
        if self._how == "labels":
            return f"{head} {{\n    return y[k] > 0;\n}}\n"
        if self._how == "sign":
            return f"{head} {{\n    return y[0] > 0;\n}}\n"
        odd = "" if self._real == "int16_t" else " || (y[k] != y[k] && y[best] == y[best])"
        return (
            f"{head} {{\n    int32_t best = 0;\n"
            f"    for (int32_t k = 1; k < {len(self._classes)}; ++k)\n"
            f"        if (y[k] > y[best]{odd}) best = k;\n"
            "    return best;\n}\n"
        )

    def _class(self) -> str:
        names = ",\n        ".join(map(string, self._classes))
        return (
            f"{self._heads()[1]} {{\n    static const char *const names[{len(self._classes)}] = {{\n        {names},\n"
            f"    }};\n    return k >= 0 && k < {len(self._classes)} ? names[k] : 0;\n}}\n"
        )

    def _category(self) -> str:
        assert self._names is not None
        all_ = [text for _, categories, _ in self._names.categories for text in categories]
        ends = np.cumsum([len(categories) for _, categories, _ in self._names.categories]).tolist()
        names = ",\n        ".join(map(string, all_))
        head = next(head for head in self._heads() if "_category(" in head)
        return (
            f"{head} {{\n    static const char *const names[{len(all_)}] = {{\n        {names},\n    }};\n"
            f"    static const int32_t ends[{len(ends)}] = {{{', '.join(map(str, ends))}}};\n"
            f"    if (column < 0 || column >= {len(ends)} || !text || !*text) return -1;\n"
            "    const int32_t first = column ? ends[column - 1] : 0;\n"
            "    int32_t k = first;\n"
            "    for (; k < ends[column]; ++k) {\n"
            "        const char *a = names[k], *b = text;\n"
            "        while (*a && *a == *b) ++a, ++b;\n"
            "        if (*a == *b) break;\n"
            "    }\n"
            "    return k - first;\n}\n"
        )

    def _date(self) -> str:
        """Days are counted as in H. Hinnant's days_from_civil (http://howardhinnant.github.io/date_algorithms.html)."""
        assert self._names is not None
        real = self._real
        head = next(head for head in self._heads() if "_date(" in head)
        cases = []
        for k, (_, parts, since, place) in enumerate(self._names.dates):
            moment = np.datetime64(since or 0, "s")
            day = moment.astype("datetime64[D]")
            rest = float((moment - day).astype(np.int64)) / 3600.0
            says = {
                "year": f"({real})year",
                "month": f"({real})month",
                "weekday": f"({real})(((days + 3) % 7 + 7) % 7)",
                "hour": "hour",
                "elapsed": f"({real})(days - {day.astype(np.int64)}) + (hour - ({real}){rest!r}) / 24",
            }
            lines = "".join(f"        x[{place + i}] = {says[part]};\n" for i, part in enumerate(parts))
            cases.append(f"    case {k}:\n{lines}        break;\n")
        return (
            f"{head} {{\n    const int32_t y = month <= 2 ? year - 1 : year, m = month > 2 ? month - 3 : month + 9;\n"
            "    const int32_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;\n"
            "    const int32_t of_year = (153 * m + 2) / 5 + day - 1;\n"
            "    const int32_t days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;\n"
            "    (void)days; (void)hour; (void)x;\n"
            f"    switch (date) {{\n{''.join(cases)}    default:\n        break;\n    }}\n}}\n"
        )
