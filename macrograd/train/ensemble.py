"""`Ensemble`: several trained models that answer together.

Source: Lakshminarayanan, Pritzel & Blundell, *Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles*, NeurIPS 2017, arXiv:1612.01474.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import functions
from macrograd.nn import Module
from macrograd.train.alike import Description
from macrograd.train.endings import DIVERGED
from macrograd.train.graphs import no_collection
from macrograd.train.nets.many import Many
from macrograd.train.samples.targets import Targets
from macrograd.train.signature import Signature
from macrograd.train.trainer import Trainer
from macrograd.value import numbers_of
from macrograd.vector import vector

Array = NDArray[Any]


class Ensemble(Module):
    """Models that were trained for the same task, as one model.

    members  Trainers, models, or the `Many` of `train_many`, whose members that diverged are left out

    Called with one sample, it gives what stands for the mean of the members' answers: their mean output or, where
    outputs stand for probabilities, the output whose probabilities are the members' mean. So `mg.Trainer(ensemble)`
    predicts and evaluates, `mg.save` and `mg.load` keep it in one file, and `mg.export` writes it as one.

    Raises TypeError for anything but models, ValueError for none, and for models that take other samples or whose
    outputs mean something else.
    """

    def __init__(self, members: Many | Iterable[Trainer | Module]) -> None:
        if isinstance(members, Many):
            members = [trainer for trainer in members if not DIVERGED.ended(trainer.history.stopped)]
        if not isinstance(members, Iterable):
            raise TypeError(f"Ensemble() takes a list of Trainers or models, got one {type(members).__name__}")
        self.members: list[Module] = [_model(member) for member in members]
        if not self.members:
            raise ValueError("Ensemble() needs at least one member that did not diverge, got none")
        known = [member._signature for member in self.members]
        self._signature = _common(known) if any(s is not None for s in known) else None
        self._programs: list[_Program] = []

    # --- one sample -------------------------------------------------------------------------------------------------

    def each(self, x: Any) -> list[Any]:
        """The output of every member for one sample."""
        return [member(x) for member in self.members]  # type: ignore[operator]  # checked by the constructor

    def __call__(self, x: Any) -> Any:
        found = self.each(x)
        if len(found) == 1:
            return found[0]
        loss = None if self._signature is None else self._signature.targets.loss
        several = hasattr(found[0], "__len__")
        if loss == "cross_entropy":
            return vector(_log_mean([[z - functions.logsumexp(list(zs)) for z in zs] for zs in found]))
        columns = list(zip(*found, strict=True)) if several else [found]
        answer = [_log_odds(list(c)) if loss == "binary_cross_entropy" else functions.mean(list(c)) for c in columns]
        return vector(answer) if several else answer[0]

    # --- many samples -----------------------------------------------------------------------------------------------

    def answers(self, X: Any) -> Array:
        """The answers of every member for samples X (n, …): probabilities of the classes or labels, (members, n, k), if
        its loss gives some, else its outputs, (members, n) or (members, n, k). Raises ValueError as `Trainer.predict`
        does."""
        outputs = self._outputs(X)
        targets = self._targets
        if targets is not None and targets.loss in ("cross_entropy", "binary_cross_entropy"):
            return np.stack([targets.probabilities(one) for one in outputs])
        return outputs

    def mean(self, X: Any) -> Array:
        """The mean of the members' `answers`, (n,) or (n, k)."""
        return np.asarray(self.answers(X).mean(axis=0))

    def spread(self, X: Any) -> Array:
        """The standard deviation of the members' `answers`, (n,) or (n, k): how much they disagree."""
        return np.asarray(self.answers(X).std(axis=0))

    def vote(self, X: Any) -> Array:
        """(n, k): the share of the members that predict each class. Raises ValueError for a model without classes."""
        targets = self._targets
        if targets is None or targets.classes is None or targets.kind not in ("two classes", "classes"):
            raise ValueError("vote() needs members that predict classes: use mean() and spread() for numbers")
        found = np.stack([targets.decode(one) for one in self._outputs(X)])
        return np.stack([(found == label).mean(axis=0) for label in targets.classes], axis=1)

    def predict(self, X: Any) -> Array:
        """The predictions of the ensemble, as `Trainer.predict`: labels by the mean answer, or the mean itself."""
        return Trainer(self).predict(X)

    @property
    def _targets(self) -> Targets | None:
        return None if self._signature is None else self._signature.targets

    def _outputs(self, X: Any) -> Array:
        """(members, n) or (members, n, k)."""
        if self._signature is None:
            raise ValueError("these members were never fitted, so that it is not known what they take: call them")
        if not self._programs:
            self._programs = _programs(self.members)
        found: list[Array | None] = [None] * len(self.members)
        with no_collection():  # of what a first call traces
            blocks = [rows for _, rows in Trainer(self)._samples(X).blocks()]
            for program in self._programs:
                for k, outputs in program.outputs(blocks):
                    found[k] = outputs
        return np.stack([x for x in found if x is not None])

    def __len__(self) -> int:
        return len(self.members)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_programs": []}

    def __repr__(self) -> str:
        kinds = {repr(member) for member in self.members}
        return f"Ensemble({len(self)} × {kinds.pop() if len(kinds) == 1 else f'models of {len(kinds)} kinds'})"


class _Program:
    """The program of members that are equal but for their parameters: traced for one, run with the numbers of each."""

    def __init__(self, member: Any, parameters: list[Any]) -> None:
        from macrograd.compiler import compile as compiled  # imported when needed

        def outputs(x: Any) -> Any:
            return member(x)

        self._compiled = compiled(outputs, batch=True)
        self._parameters = parameters
        self.members: list[tuple[int, list[Any]]] = []

    def outputs(self, blocks: Sequence[Array]) -> list[tuple[int, Array]]:
        """(member, its outputs) of each member."""
        self._compiled(blocks[0])  # which traces it
        place = {id(p): k for k, p in enumerate(self._parameters)}
        chosen = [place[id(p)] for p in self._compiled.parameters]
        found = []
        for k, parameters in self.members:
            theta = np.array(numbers_of([parameters[i] for i in chosen]))
            found.append((k, np.concatenate([np.asarray(self._compiled.value(theta, rows)) for rows in blocks])))
        return found


def _programs(members: Sequence[Module]) -> list[_Program]:
    found: dict[Any, _Program] = {}
    for k, member in enumerate(members):
        described = Description(member)
        if described.key not in found:
            found[described.key] = _Program(member, described.parameters)
        found[described.key].members.append((k, described.parameters))
    return list(found.values())


def _model(member: Any) -> Module:
    if isinstance(member, Trainer):
        member.setup.fitted()
        return member.model
    if not isinstance(member, Module) or not callable(member):
        raise TypeError(
            f"a member of an Ensemble is a Trainer or a model, got {member!r} of type {type(member).__name__}"
        )
    return member


def _common(known: Sequence[Any]) -> Signature:
    """The signature of all members. Raises ValueError if they mean different things."""
    first = known[0]
    for k, other in enumerate(known):
        if not isinstance(other, Signature) or not isinstance(first, Signature):
            raise ValueError(f"member {k if isinstance(first, Signature) else 0} was never fitted, others were")
        a, b = first.targets, other.targets
        same = (first.shape, first.columns, a.kind, a.loss, a.outputs, a.shape) == (
            other.shape, other.columns, b.kind, b.loss, b.outputs, b.shape,
        )  # fmt: skip
        classes = [None if x.classes is None else x.classes.tolist() for x in (a, b)]
        if not same or classes[0] != classes[1]:
            raise ValueError(
                f"members 0 and {k} were trained for different tasks: {_told(first, classes[0])}, and "
                f"{_told(other, classes[1])}"
            )
    assert isinstance(first, Signature)
    return replace(first)


def _told(signature: Signature, classes: Any) -> str:
    what = f"the classes {classes}" if classes is not None else signature.targets.kind
    return f"samples of shape {signature.shape}, {what}, {signature.targets.loss}"


def _log_mean(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The logarithm of the mean, column by column, of numbers given by their logarithms."""
    return [functions.logsumexp(list(column)) - math.log(len(rows)) for column in zip(*rows, strict=True)]


def _log_odds(scores: list[Any]) -> Any:
    """The score whose probability is the mean of those of these scores."""
    yes = functions.logsumexp([-functions.softplus(-z) for z in scores])
    return yes - functions.logsumexp([-functions.softplus(z) for z in scores])
