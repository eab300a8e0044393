"""Groups of members that train together: on lanes where their programs are equal, one after the other elsewhere.

The rule: members whose programs are equal but for their numbers, and who take steps of the same sizes, run with lanes
as members if there are several of them and the compiler has such a form of the program, whose numbers fit into a core's
cache. All others run alone, with lanes as samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.nets import Different
from macrograd.nn.dropout import PERIOD, key_of
from macrograd.train.alike import Description
from macrograd.train.diagnose import DivergedError
from macrograd.train.endings import INTERRUPTED
from macrograd.train.fitting import Fitting
from macrograd.train.graphs import no_collection
from macrograd.train.nets.lanes import Member, Together
from macrograd.train.nets.member_files import Folder
from macrograd.train.objective import Keyed
from macrograd.value import Value
from macrograd.vector import as_argument

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled
    from macrograd.compiler.many import TrainingNets

Array = NDArray[Any]

FEWEST = 2  # members that are worth a shared program


@dataclass
class Group:
    """Members that run together, and how: `obstacle` says why they do not share lanes, "" if they do; `parts` are the
    groups that it fell into, if it did; `seeds` are those of each if they are copies of one member."""

    members: list[Member]
    threads: int
    obstacle: str = ""
    lanes: int = 0
    places: list[int] = field(default_factory=list)
    parts: list[Group] = field(default_factory=list)
    fewest: int = FEWEST
    seeds: list[int] | None = None

    @property
    def numbers(self) -> list[int]:
        """The members' numbers."""
        return [member.number for member in self.members] if self.seeds is None else list(range(len(self.seeds)))

    def run(self, start: float, folder: Folder | None) -> None:
        """Train all members to their ends, or to Ctrl-C, which stops those that have not begun, too."""
        try:
            nets = None if self.obstacle else self.nets()
        except Different:
            self._split()
            for part in self.parts:
                part.run(start, folder)
                if part.interrupted:
                    break
            return
        if nets is not None:
            Together(self.members, self.places, nets, start, folder).run()
            return
        for k, member in enumerate(self.members):
            _alone(member, folder)
            if self.interrupted:
                self.skip(k + 1)
                return

    def _split(self) -> None:
        """Into parts of equal programs, after those that differ in numbers turned out to differ in more."""
        parts: dict[Any, Group] = {}
        for member in self.members:
            parts.setdefault((member.loss, member.rule), Group([], self.threads, fewest=self.fewest)).members.append(
                member
            )
        self.parts = list(parts.values())
        for part in self.parts:
            part.check()

    def check(self) -> None:
        """Note if there are too few members to share lanes."""
        if not self.obstacle and len(self.members) < self.fewest:
            self.obstacle = "no other member has an equal program"

    def _keys(self) -> Array | None:
        """The keys of each member's random numbers; None if they draw none."""
        first = self.members[0].fitting
        if not first.objective.draws:
            return None
        count = first.objective.count_draws(*[as_argument(array[0]) for array in first.arrays(None)[:2]])
        seeds = self.seeds or [member.fitting.objective.seed or 0 for member in self.members]
        return np.array([[key_of(seed, k) for k in range(count)] for seed in seeds])

    def skip(self, first: int = 0) -> None:
        """Leave the members from the `first` of the group as they are: the whole was interrupted before they began."""
        for member in self.members[first:]:
            member.fitting.history.stopped = INTERRUPTED

    @property
    def interrupted(self) -> bool:
        return any(INTERRUPTED.ended(member.fitting.history.stopped) for member in self.members)

    def nets(self) -> TrainingNets | None:
        """The members' nets on lanes; None, with the obstacle noted, if there is no such form."""
        from macrograd.compiler import TraceError
        from macrograd.compiler.many import NetsError, TrainingNets

        first = self.members[0].fitting
        losses, loss_of = _distinct([member.loss for member in self.members])
        rules, rule_of = _distinct([member.rule for member in self.members])
        leaders = [self.members[k] for k in losses]
        try:
            with no_collection():  # of a trace and its programs
                nets = TrainingNets(
                    [_sample(member.fitting) for member in leaders],
                    loss_of,
                    [self.members[k].fitting.optimizer.rule for k in rules],
                    rule_of,
                    first.arrays(None),
                    first.optimizer.initial_state,
                    self._keys(),
                    batch_size=first.order.batch_size,
                    period=PERIOD,
                    clip_norm=first.clip_norm,
                    threads=self.threads,
                )
        except Different:
            raise
        except NetsError as error:
            self.obstacle = str(error)
            return None
        except (TraceError, TypeError, ValueError):
            self.obstacle = "a program that cannot be recorded"  # alone, the first says so
            return None
        places = [_places(leader, found) for leader, found in zip(leaders, nets.parameters, strict=True)]
        if None in places:
            self.obstacle = "a parameter that is not the model's"
            return None
        if any(place != places[0] for place in places):
            raise Different("programs that use their parameters in another order")
        self.places = places[0] or []
        self.lanes = nets.nets.lanes
        return nets


def _sample(fitting: Fitting) -> Compiled:
    """A sample's loss, with the keys of its random numbers as an argument if it draws some."""
    objective = fitting.objective
    return fitting.setup.compiled(Keyed(objective) if objective.draws else objective)


def _distinct(keys: list[Any]) -> tuple[list[int], list[int]]:
    """(the first place of each distinct key, which of these each key is)."""
    known: dict[Any, int] = {}
    of = [known.setdefault(key, len(known)) for key in keys]
    return [of.index(k) for k in range(len(known))], of


def _places(member: Member, parameters: list[Value]) -> list[int] | None:
    """The places of these parameters among the member's leaves; None if one is not the model's."""
    known = {id(p) for p in member.fitting.objective.parameters}
    place = {id(p): k for k, p in enumerate(member.leaves)}
    return [place[id(p)] for p in parameters] if all(id(p) in known for p in parameters) else None


def explained(groups: Sequence[Group]) -> str:
    """The rule, and what it made of the members."""
    lines = [
        "lanes are members where their programs are equal but for their numbers, and fit into a core's cache; "
        "elsewhere lanes are samples"
    ]
    alone: dict[str, list[int]] = {}
    for group in [part for whole in groups for part in whole.parts or [whole]]:
        numbers = group.numbers
        if group.obstacle:
            alone.setdefault(group.obstacle, []).extend(numbers)
        else:
            lines.append(f"{_listed(numbers)}: together, {group.lanes} members at a time")
    for obstacle, numbers in alone.items():
        lines.append(f"{_listed(sorted(numbers))}: one after the other, lanes are samples: {obstacle}")
    return "\n".join(lines)


def grouped(members: Sequence[Member], threads: int, fewest: int = FEWEST) -> list[Group]:
    """The members in groups, in the order of their first members; groups of fewer than `fewest` run alone."""
    groups: dict[Any, Group] = {}
    for member in members:
        key: Any = _key(member)
        if isinstance(key, str):
            found = Group([member], threads, key)
            groups[id(member)] = found
            continue
        groups.setdefault(key, Group([], threads)).members.append(member)
    for group in groups.values():
        group.fewest = fewest
        group.check()
    return list(groups.values())


def _key(member: Member) -> Any:
    """The facts that members who share a program have in common; a sentence if this one shares with no other."""
    fitting = member.fitting
    setup, objective, order = fitting.setup, fitting.objective, fitting.order
    if setup.engine != "compiled":
        return "the eager engine"
    if fitting.part.samples.streamed:
        return "samples that stay in their file"
    if fitting.callbacks.step:
        return "a callback after every step"
    if setup.ranks is not None:
        return "batches that other processes share"
    if fitting.health is not None:
        return "the health of its layers, which needs gradients"
    model = member.described
    if objective.extra is not None:  # which knows the model, too
        model = Description(objective.model, objective.extra)
    loss, rule = Description(objective.loss), Description(fitting.optimizer)
    member.leaves = model.parameters
    member.loss, member.rule = (model.key, loss.key, objective.l2), rule.key
    shapes = tuple(array.shape[1:] for array in fitting.arrays(None))
    return (
        model.alike, loss.alike, objective.l2 == 0.0, rule.alike, fitting.optimizer.initial_state, objective.draws,
        objective.weighted, setup.dtype, setup.strict, shapes, order.samples, order.batch_size, fitting.clip_norm,
    )  # fmt: skip


def _alone(member: Member, folder: Folder | None) -> None:
    try:
        if folder is None:
            member.fitting.prepare(None, math.inf, False)
        else:
            member.fitting.prepare(folder.file(member.number), folder.every, folder.resume)
        member.fitting.run()
    except (DivergedError, IndexError) as error:
        member.failed(error)


def _listed(numbers: list[int]) -> str:
    """The numbers of members in words, ranges in short."""
    parts: list[str] = []
    begin = 0
    while begin < len(numbers):
        end = begin
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        parts.append(str(numbers[begin]) if begin == end else f"{numbers[begin]}–{numbers[end]}")
        begin = end + 1
    shown_ = ", ".join(parts if len(parts) <= 8 else [*parts[:7], f"… {parts[-1]}"])
    return f"member{'s' if len(numbers) > 1 else ''} {shown_}"
