"""The options of the commands. Names that other modules define are repeated here, because importing those modules would
make `--help` slow; a test compares the lists."""

from __future__ import annotations

import argparse
from typing import Any

from macrograd.cli.arguments import DELIMITERS, column_kind, delimiter, number, one_of, share, whole

DATASETS = ("moons", "circles", "blobs", "spirals", "xor")
ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "sin", "silu", "gelu")
INITIALISERS = ("uniform", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform")
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adamw")
TASKS = ("classification", "regression")
SCALES = ("standard", "robust", "none")
LOSSES = ("hinge", "squared_error", "absolute_error", "huber", "binary_cross_entropy", "cross_entropy")
ENGINES = ("compiled", "eager")
EXPORT_KINDS = ("predict", "gradient", "train")
DTYPES = ("float64", "float32")
EXPORT_DTYPES = (*DTYPES, "int8")

EPILOG = """\
examples:
  macrograd train moons --plot moons.png        micrograd's run, and a picture
  macrograd train moons --batch-size 32         32 random samples a step
  macrograd train blobs --classes 4             four classes, cross-entropy
  macrograd train flowers.csv --target species  a table of your own
  macrograd train flowers.csv --target species --save flowers.safetensors
  macrograd train houses.xlsx --target price --drop id --kind zip=category
  macrograd train lab.sqlite --query "SELECT a, b, y FROM runs" --target y
"""

PREDICT_EPILOG = """\
examples:
  macrograd predict flowers.safetensors new.csv > answers.csv
  macrograd predict flowers.safetensors new.parquet --probabilities
"""

TUNE_EPILOG = """\
examples:
  macrograd tune flowers.csv --target species --save flowers.safetensors
  macrograd tune houses.csv --target price --tries 100 --folder search
"""


EXPORT_EPILOG = """\
examples:
  macrograd export flowers.safetensors flowers.c
  macrograd export flowers.safetensors flowers.c --kind train --lanes 1
  macrograd export flowers.safetensors flowers.c --dtype int8 \\
      --calibrate flowers.csv
  macrograd export flowers.safetensors flowers.wasm  and flowers.js, to call it
  macrograd export flowers.safetensors flowers.onnx
"""

PLAYGROUND_EPILOG = """\
examples:
  macrograd playground
  macrograd playground flowers.csv -o flowers.html
"""

EXPLAIN_EPILOG = """\
examples:
  macrograd explain moons                       the demo's net and its gradient
  macrograd explain spirals --classes 3 --hidden 8 8 --activation tanh
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Text wrapped at the width of the terminal, but examples left as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def add_train(commands: Any) -> None:
    """The options of `macrograd train`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a multi-layer perceptron on synthetic data or a table",
        description="Train a multi-layer perceptron, and print its progress and its score on samples that it was not "
        "trained on.",
        epilog=EPILOG,
        formatter_class=_Help,
    )
    _add_net(parser)
    _add_steps(parser)
    _add_files(parser)


def _add_steps(parser: argparse.ArgumentParser) -> None:
    """The options of `train` that say how to train."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--steps",
        type=whole(1),
        metavar="N",
        help="number of steps (synthetic data 100; tables until it stops improving)",
    )
    add("--epochs", type=whole(1), metavar="N", help="number of passes over all samples, instead of --steps")
    add(
        "--batch-size",
        type=whole(1),
        metavar="N",
        help="random samples per step (synthetic data all, in order; tables 32 or more)",
    )
    add(
        "--optimizer",
        type=one_of(OPTIMIZERS),
        metavar="NAME",
        help=f"{', '.join(OPTIMIZERS)} (adam; sgd for synthetic data with all samples a step, as in micrograd's demo)",
    )
    add(
        "--lr",
        type=number(0, above=True),
        metavar="R",
        help="initial learning rate; it falls linearly to a tenth (adam 0.01, less for many columns; "
        "sgd on synthetic data 1 for hinge and cross-entropies, 0.05 for squared_error, 0.3 for others)",
    )
    add(
        "--validation",
        type=share,
        metavar="F",
        help="tables: the fraction of rows held out for evaluation and early stopping; 0 for none (0.2)",
    )
    add("--l2", type=number(0), default=1e-4, metavar="A", help="adds A times the sum of squared parameters (1e-4)")
    add("--engine", type=one_of(ENGINES), default="compiled", metavar="NAME", help=f"{', '.join(ENGINES)} (compiled)")


def _add_files(parser: argparse.ArgumentParser) -> None:
    """The options of `train` that say what to save and to print."""
    add = parser.add_argument_group("output").add_argument
    add("--plot", metavar="FILE", help="save a picture of what was learned: .png, .svg or .pdf")
    add("--save", metavar="FILE", help="save the trained net, for `macrograd predict` and mg.load (safetensors)")
    add("--checkpoint", metavar="FILE", help="save everything needed to resume, every 10 s, at the end and at Ctrl-C")
    add("--resume", action="store_true", help="resume from the checkpoint, if there is one, as if never stopped")
    add(
        "--live",
        action="store_true",
        help="draw loss and accuracy (or error) as moving lines in place of the lines of text, on a terminal",
    )
    add("--profile", action="store_true", help="print the time of each array instruction of a step, after the training")
    add(
        "--quiet",
        action="store_true",
        help="print only the result, without a line per step or a progress bar: many steps then run in one native call",
    )


def add_tune(commands: Any) -> None:
    """The options of `macrograd tune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "tune",
        help="search for the net and the training settings that suit a table",
        description="Try nets and training settings by cross-validation, print the best, train it on all rows of the "
        "search, and evaluate it on rows that the search has not seen.",
        epilog=TUNE_EPILOG,
        formatter_class=_Help,
    )
    _add_data(parser)

    group = parser.add_argument_group("search")
    add = group.add_argument
    add("--tries", type=whole(1), default=27, metavar="N", help="how many settings (27)")
    add("--folds", type=whole(1), default=3, metavar="N", help="of cross-validation; 1 holds out a quarter, once (3)")
    add("--seeds", type=whole(1), default=1, metavar="N", help="fits of each with other seeds (1)")
    add("--epochs", type=whole(1), default=81, metavar="N", help="of the longest fits (81)")
    add(
        "--halving",
        type=whole(0),
        default=3,
        metavar="N",
        help="short fits for all, then N times as many epochs for the best of every N; 0 for long fits for all (3)",
    )
    add("--workers", type=whole(1), default=1, metavar="N", help="processes (1)")
    add("--folder", metavar="DIR", help="save every result there as it comes; the same command resumes from it")
    add("--loss", type=one_of(LOSSES), metavar="NAME", help=f"{', '.join(LOSSES)} (the first that fits the data)")
    add("--seed", type=whole(0, 2**32 - 1), default=1337, metavar="N", help="of the search, the folds, the rows (1337)")
    add(
        "--validation",
        type=share,
        metavar="F",
        help="the fraction of a table's rows that the search does not see, for the final score; 0 for none (0.2)",
    )

    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--csv", metavar="FILE", help="save all settings and their scores")
    add("--plot", metavar="FILE", help="save a picture of how the score depends on each: .png, .svg or .pdf")
    add("--save", metavar="FILE", help="save the best net, trained, for `macrograd predict` and mg.load (safetensors)")
    add("--quiet", action="store_true", help="no progress, only the result")


def add_explain(commands: Any) -> None:
    """The options of `macrograd explain`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="explain what the compiler finds in such a net",
        description="Compile the loss of one sample as `macrograd train` does, and describe the matrix products and "
        "other array operations found in its scalars.",
        epilog=EXPLAIN_EPILOG,
        formatter_class=_Help,
    )
    _add_net(parser)


def add_predict(commands: Any) -> None:
    """The options of `macrograd predict`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="predict the rows of a table with a saved net",
        description="Print the table with one more column: each row's prediction by a net that `macrograd train "
        "--save` wrote. Columns are matched by name; further ones are ignored.",
        epilog=PREDICT_EPILOG,
        formatter_class=_Help,
    )
    parser.add_argument("model", metavar="MODEL", help="a file of `macrograd train --save`")
    parser.add_argument("table", metavar="TABLE", help="a table, as `macrograd train` takes them")
    parser.add_argument("--probabilities", action="store_true", help="add a column for each class with its probability")
    _add_reading(parser)


def add_inspect(commands: Any) -> None:
    """The options of `macrograd inspect`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "inspect",
        help="describe a saved net and how it was trained, or the state of a checkpoint",
        description="Describe a file that `macrograd train --save` or mg.save wrote, or a checkpoint.",
    )
    parser.add_argument("model", metavar="MODEL", help="a safetensors file")


def add_export(commands: Any) -> None:
    """The options of `macrograd export`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write a saved net as a C file that needs no library, a WebAssembly module or an ONNX model",
        description="Write a net that `macrograd train --save` or mg.save wrote as one C99 file, a WebAssembly module "
        "or an ONNX model. It takes the numbers and strings of a table's row and returns names of classes, or numbers.",
        epilog=EXPORT_EPILOG,
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file of `macrograd train --save`")
    add("out", metavar="FILE", help="the file to write, ending in .c, .wasm or .onnx")
    add(
        "--kind",
        type=one_of(EXPORT_KINDS),
        default="predict",
        metavar="NAME",
        help=f"{', '.join(EXPORT_KINDS)} (predict)",
    )
    add(
        "--dtype",
        type=one_of(EXPORT_DTYPES),
        default="float64",
        metavar="NAME",
        help=f"{', '.join(EXPORT_DTYPES)} (float64); int8 is for C that predicts, and needs --calibrate",
    )
    add(
        "--calibrate",
        metavar="TABLE",
        help="of --dtype int8: a table with rows like those to be predicted, such as the one it was trained on, whose "
        "range the integers cover",
    )
    add("--header", action="store_true", help="of a C file: write the interface to a .h file, too")
    add(
        "--lanes",
        type=whole(1, 256),
        metavar="N",
        help="of --kind train in C and of modules: samples side by side (8, or 16 in float32)",
    )
    add("--strict", action="store_true", help="the same bits from every compiler on every machine; needs no math.h")
    add("--lr", type=number(0, above=True), metavar="R", help="of --kind train: Adam's learning rate (0.01)")
    _add_reading(parser.add_argument_group("the table of --calibrate"))


def add_playground(commands: Any) -> None:
    """The options of `macrograd playground`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "playground",
        help="write a page that trains small nets in a browser",
        description="Write one HTML file that trains small nets in a browser: data sets or your own table, layers, "
        "each neuron's output, losses, and export of the net. It needs no network.",
        epilog=PLAYGROUND_EPILOG,
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("table", metavar="TABLE", nargs="?", help="a CSV file to begin with; others can be dropped into the page")
    add("-o", "--out", default="playground.html", metavar="FILE", help="the file to write (playground.html)")


def _add_net(parser: argparse.ArgumentParser) -> None:
    """The options that choose the data, the net and the loss."""
    _add_data(parser)
    group = parser.add_argument_group("net")
    add = group.add_argument
    add("--hidden", type=whole(1), nargs="*", default=[16, 16], metavar="N", help="sizes of the hidden layers (16 16)")
    add(
        "--activation",
        type=one_of(ACTIVATIONS),
        default="relu",
        metavar="NAME",
        help=f"{', '.join(ACTIVATIONS)} (relu)",
    )
    add(
        "--init",
        type=one_of(INITIALISERS),
        metavar="NAME",
        help=f"initial weights: {', '.join(INITIALISERS)} (uniform; he_normal for a table)",
    )
    add("--loss", type=one_of(LOSSES), metavar="NAME", help=f"{', '.join(LOSSES)} (the first that fits the data)")
    add("--seed", type=whole(0, 2**32 - 1), default=1337, metavar="N", help="of data, weights and batches (1337)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    """The options that say which data."""
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        help=f"{', '.join(DATASETS)}, or a table: text with delimiters (also .gz, .zip), Parquet, Arrow, JSON lines, "
        "Excel, SQLite, postgresql://…",
    )

    group = parser.add_argument_group("a table")
    add = group.add_argument
    add(
        "--target", metavar="COLUMN",
        help="the column to learn: classes, or a number; or several columns of yes and no, as in a,b,c",
    )  # fmt: skip
    add("--task", type=one_of(TASKS), metavar="NAME", help=f"{' or '.join(TASKS)} (guessed, and printed)")
    add("--features", nargs="+", metavar="COLUMN", help="the columns to learn from (all useful ones)")
    add("--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    add(
        "--kind",
        nargs="+",
        type=column_kind,
        default=[],
        metavar="COLUMN=KIND",
        help="number (number:point, number:comma), category, yes-no, date (date:dmy, date:mdy), duration "
        "(duration:h:mm, duration:m:ss), or drop (guessed, and printed)",
    )
    add("--scale", type=one_of(SCALES), metavar="NAME", help=f"of the columns: {', '.join(SCALES)} (standard)")
    _add_reading(group)
    add("--missing", nargs="+", default=[], metavar="TEXT", help="more markers of missing values (besides NA, ?, -, …)")

    group = parser.add_argument_group("synthetic data")
    add = group.add_argument
    add("--samples", type=whole(1), metavar="N", help="how many samples to make (100)")
    add("--noise", type=number(0), metavar="S", help="standard deviation of the noise (blobs 1, xor 0, others 0.1)")
    add("--classes", type=whole(2), metavar="K", help="number of blobs (3) or of spiral arms (2)")


def _add_reading(parser: Any) -> None:
    """The options for reading a table."""
    add = parser.add_argument
    add(
        "--query",
        metavar="SQL",
        help="for SQLite and PostgreSQL a SELECT or the name of a table, for Excel the name of a sheet",
    )
    add("--delimiter", type=delimiter, metavar="NAME", help=f"{', '.join(DELIMITERS)}, or the character (detected)")
    add("--no-header", action="store_true", help="the first line is data: columns are called 'column 1' and so on")
