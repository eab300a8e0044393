"""Why a run ended, in this package's own words, which have a type: a callback may give the same words for a reason of
its own, as a plain string."""

from __future__ import annotations


class Ending(str):
    """A reason of this package, equal to the string that users compare with."""

    __slots__ = ()

    def ended(self, stopped: str) -> bool:
        """Whether a history's `stopped` is this reason, and not a callback's of the same words."""
        return type(stopped) is Ending and stopped == self


INTERRUPTED, EARLY_STOPPING = Ending("interrupted"), Ending("early stopping")
DIVERGED, FAILED = Ending("diverged"), Ending("failed")


def written(stopped: str) -> str:
    """The reason for a file, in which words have no types."""
    mine = type(stopped) is Ending
    return (
        f"callback: {stopped}" if not mine and stopped in (INTERRUPTED, EARLY_STOPPING, DIVERGED, FAILED) else stopped
    )
