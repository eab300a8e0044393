"""The command `macrograd`. NumPy is not imported until a command runs, so that `macrograd --help` is fast."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from macrograd.cli import options

# The exit codes that a shell reports for these signals.
INTERRUPTED, BROKEN_PIPE = 130, 141


class UsageError(Exception):
    """An invalid command line; the message gives the remedy."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print the whole usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (the process's own if None) and return the exit code.

    0 success, 2 bad input (explained in one line on standard error), 130 interrupted, 141 output closed by its reader.
    The process then only ends, which Ctrl-C does not turn into a failure.
    """
    return _code(sys.argv[1:], _end) if argv is None else _code(argv, lambda: None)


def _end() -> None:
    """The work is over, or given up: Ctrl-C has nothing to end any more."""
    with suppress(ValueError):  # not the main thread, which alone gets signals
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _code(argv: Sequence[str], end: Callable[[], None]) -> int:
    try:
        code = dispatch(argv)
        sys.stdout.flush()
        end()
        return code
    except KeyboardInterrupt as interrupt:
        end()  # before another one comes into what is printed
        print(f"macrograd: interrupted{f' {interrupt}' if str(interrupt) else ''}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes again at exit: let it flush to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{where}{error.strerror or error}")
    except (UsageError, ValueError, ArithmeticError, ImportError) as error:
        return _fail(str(error))
    finally:
        end()


def _fail(message: str) -> int:
    print("macrograd: error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def dispatch(argv: Sequence[str]) -> int:
    parser = Parser(prog="macrograd", description="Train small neural networks written in single scalars.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    options.add_train(commands)
    options.add_tune(commands)
    options.add_predict(commands)
    options.add_inspect(commands)
    options.add_explain(commands)
    options.add_export(commands)
    options.add_playground(commands)
    if argv and not argv[0].startswith("-") and argv[0] not in commands.choices:
        import difflib  # needed only for misspellings, and slow to load

        close = difflib.get_close_matches(argv[0], commands.choices, n=1)
        hint = f"; did you mean {close[0]}?" if close else f": use {', '.join(commands.choices)}"
        parser.error(f"there is no command {argv[0]!r}{hint}")
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:  # --help has printed the help
        return 0
    if arguments.version:
        from macrograd import __version__

        print(f"macrograd {__version__}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    # A command is the function of its name in the module of its name, which is loaded on demand.
    command: Callable[[argparse.Namespace], int] = getattr(
        importlib.import_module(f"macrograd.cli.{arguments.command}"), arguments.command
    )
    return command(arguments)
