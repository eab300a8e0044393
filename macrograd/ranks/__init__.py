"""Processes that share the samples of a batch, as the ranks of an MPI communicator.

tree    how a batch is cut into leaves, and the fixed tree in which their sums are added
own     batches of which each process has some rows
ranks   what the processes tell each other, and how an error on one of them ends all
"""

from macrograd.ranks.ranks import OtherRankError, Ranks
from macrograd.ranks.tree import Leaves

__all__ = ["Leaves", "OtherRankError", "Ranks"]
