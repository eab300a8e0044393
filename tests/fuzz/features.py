"""Features by swarm: every program has a random half of them, so that rare combinations come up.

Source: Groce, Zhang, Eide, Chen & Regehr, *Swarm Testing*, ISSTA 2012.
"""

from __future__ import annotations

import random

# name → how often it is on.
FEATURES = {
    "sharing": 0.7,  # operands from the whole program, not only from the last lines
    "duplicates": 0.2,  # the same operand twice, the same line twice
    "loops": 0.35,  # recurrences
    "nests": 0.4,  # loops in loops
    "periods": 0.5,  # rounds that depend on their number
    "lists": 0.35,  # wide lines, sums, products and choices of lists
    "layers": 0.25,  # wide sums of products, what an activation makes of them, and both read again
    "index": 0.3,  # takes by an integer input
    "choices": 0.4,  # comparisons and where
    "arithmetic": 0.12,  # of what strict programs do to the eager engine's bits alone
    "ties": 0.3,  # coarse numbers, which meet
    "fractions": 0.5,  # numbers with all their digits; otherwise sixteenths, which are exact
    "special": 0.12,  # 0, -0.0, infinities, NaN, subnormal and huge numbers
    "odd one": 0.12,  # one of those among numbers that are moderate
    "wild": 0.25,  # nothing keeps numbers moderate
    "results": 0.4,  # several results
    "everything": 0.25,  # all scalars are results
    "nested": 0.4,  # in tuples, lists and dicts
    "uniform": 0.12,  # programs that do not depend on the sample
    "unused": 0.25,  # unused inputs and parameters
    "long": 0.2,
    "data": 0.45,  # a small budget of code: most of the program runs as data for the generic kernel
    "data and code": 0.3,  # of those, with room for some of its groups and loops
}


def draw(rng: random.Random) -> frozenset[str]:
    return frozenset(name for name, often in FEATURES.items() if rng.random() < often)
