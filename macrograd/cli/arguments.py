"""Parsers of what the options take: integers, numbers, names. Each error says what would be right."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

DELIMITERS = ("comma", "semicolon", "tab", "pipe", "space")


def delimiter(text: str) -> str:
    """A parser of delimiters, by name or as a character."""
    names = dict(zip(DELIMITERS, ",;\t| ", strict=True))
    text = {"\\t": "\t"}.get(text, text)
    if text not in names and len(text) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not known: use {', '.join(DELIMITERS)}, or one character")
    return names.get(text, text)


def column_kind(text: str) -> tuple[str, str]:
    """A parser of COLUMN=KIND."""
    column, equals, kind = text.rpartition("=")
    if not equals or not column or not kind:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=KIND, as in zip=category")
    return column, kind


def share(text: str) -> float:
    """A parser of fractions, from 0 to below 1."""
    value = number(0)(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"it must be below 1, got {text}")
    return value


def one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of one of several names."""

    def parse(text: str) -> str:
        if text not in names:
            import difflib  # takes milliseconds to load, which `--help` can do without

            close = difflib.get_close_matches(text, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise argparse.ArgumentTypeError(f"unknown value {text!r}: use {', '.join(names)}{hint}")
        return text

    return parse


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of integers from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < least or (most is not None and value > most):
            bounds = f"{least} or more" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"it must be {bounds}, got {value}")
        return value

    return parse


def number(least: float, *, above: bool = False) -> Callable[[str], float]:
    """A parser of finite numbers of `least` or more, or above `least`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not math.isfinite(value) or value < least or (above and value == least):
            raise argparse.ArgumentTypeError(
                f"it must be {f'above {least}' if above else f'{least} or more'}, got {text}"
            )
        return value

    return parse
