"""`Module`: anything that holds parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from macrograd.value import Value


class Module:
    """A thing with parameters: every leaf `Value` in its attributes, at any depth.

    Attributes are searched in the order in which they were set, through Modules, lists, tuples and dicts. Values that
    were computed (an output kept for later, say) are no parameters. A subclass needs no call of `super().__init__()`.
    """

    def parameters(self) -> list[Value]:
        """The parameters in the order of `named_parameters`; one that is shared stands there once."""
        return [parameter for _, parameter in self._walk()]

    def named_parameters(self) -> dict[str, Value]:
        """The parameters by the path that leads to them, as in `layers.0.neurons.3.w.1`.

        A parameter that several paths lead to has the first path's name.
        """
        return dict(self._walk())

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0."""
        for parameter in self.parameters():
            parameter.grad = 0.0

    def _walk(self) -> Iterator[tuple[str, Value]]:
        # Iterative, and each object once: modules may be nested deeply and may know one another.
        seen: set[int] = set()
        stack: list[tuple[str, Any]] = [("", self)]
        while stack:
            path, thing = stack.pop()
            children = _children(thing)
            if (children is None and not isinstance(thing, Value)) or id(thing) in seen:
                continue
            seen.add(id(thing))
            if children is None:
                if thing.op is None:
                    yield path, thing
                continue
            prefix = f"{path}." if path else ""
            stack.extend((f"{prefix}{name}", child) for name, child in reversed(children))


def _children(thing: Any) -> list[tuple[Any, Any]] | None:
    """What a container holds, each with its name in it; None for what is no container."""
    if isinstance(thing, Module):
        return list(vars(thing).items())
    if isinstance(thing, dict):
        return list(thing.items())
    if isinstance(thing, (list, tuple)):
        return list(enumerate(thing))
    return None
