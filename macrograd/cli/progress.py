"""Output while a command runs: plain lines in a pipe, with a progress bar below them on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Print = Callable[[str, str], None]


@contextlib.contextmanager
def progress(steps: int, done: int, quiet: bool) -> Iterator[Print]:
    """A function to call at every step after the first `done` ones, with its line, which may be empty, and a short text
    for the bar."""
    if quiet:
        yield lambda line, short: None
    elif not sys.stdout.isatty():
        yield lambda line, short: print(line, flush=True) if line else None
    else:
        with _bar(steps, done) as shown:
            yield shown


@contextlib.contextmanager
def _bar(steps: int, done: int) -> Iterator[Print]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=steps, completed=done)

        def show(line: str, short: str) -> None:
            if line:
                console.print(line)
            bar.update(task, advance=1, description=short)

        yield show
