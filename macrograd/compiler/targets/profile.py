"""A profile: the time of every step of a program, its share, and its arithmetic rate."""

from __future__ import annotations

from macrograd._dataclass import dataclass


@dataclass(frozen=True)
class Row:
    """One step: its description, its time for the whole batch, and its number of operations."""

    step: str
    phase: str
    seconds: float
    share: float
    operations: int

    @property
    def rate(self) -> float:
        """Floating-point operations per second."""
        return self.operations / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """The rows of a program in execution order; `whole` is the time of an undivided run in seconds, and `peak` the
    machine's floating-point operations per second for the program's number type."""

    rows: list[Row]
    whole: float
    peak: float

    def __str__(self) -> str:
        lines = [
            f"{self.whole * 1e6:.2f} µs a run; steps by themselves {sum(r.seconds for r in self.rows) * 1e6:.2f} µs; "
            f"peak {self.peak / 1e9:.1f} GFLOP/s",
            f"{'µs':>9} {'share':>6} {'GFLOP/s':>8} {'of peak':>8}  step",
        ]
        for row in self.rows:
            lines.append(
                f"{row.seconds * 1e6:9.3f} {row.share:6.1%} {row.rate / 1e9:8.2f} {row.rate / self.peak:8.1%}  "
                f"{row.phase}: {row.step}"
            )
        return "\n".join(lines)
