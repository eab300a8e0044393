"""The playground's page, assembled from its parts: one HTML file that loads nothing from outside."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from macrograd._files import write_whole
from macrograd.browser import nets
from macrograd.browser.modules import module_of, preparing
from macrograd.browser.own import own_net
from macrograd.train import Trainer

LARGEST_TABLE = 5_000_000  # bytes
# The parts of the page's script, in order.
_SCRIPTS = ("state", "data", "nets", "training", "drawing", "diagram", "matrices", "taking", "controls")


def playground(
    what: Trainer | str | os.PathLike[str] | None = None,
    X: Any = None,
    y: Any = None,
    *,
    path: str | os.PathLike[str] = "playground.html",
) -> Path:
    """Write a page that trains small nets in a browser, as one HTML file that needs no network and no server.

    what  a CSV file to begin with: a header line, two columns of numbers for the axes, and one for the target, of
          numbers or of up to ten classes (others can be dropped onto the page); or a fitted Trainer, whose net, loss
          and optimiser are used as they are; None for the built-in data sets
    X, y  samples for training the Trainer's net further, as `fit` takes them, and one target for each; a strict Trainer
          makes the same bits on the page as in Python, if all samples are trained on at once
    path  the file, ending in .html

    The nets are WebAssembly modules of macrograd's compiler. `from_playground` reads a trained net back, and the
    `load_parameters` of a Trainer's model its parameters. Returns the path.

    Raises ValueError for a path that does not end in .html, a table that is not UTF-8 or has more than 5 MB, and
    samples that do not fit the Trainer; whatever `mg.export` raises for a net that cannot be trained there; and OSError
    for files that cannot be read or written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"playground to {path.name!r}: the path must end in .html")
    if not isinstance(what, Trainer):
        if X is not None or y is not None:
            raise TypeError("playground() takes X and y with a Trainer: playground(trainer, X, y)")
        content = page(nets.menu(), table=_table(what))
    elif X is None or y is None:
        raise TypeError("playground() of a Trainer needs samples to train on: playground(trainer, X, y)")
    else:
        content = page(nets.menu(), own=own_net(what, X, y))
    return write_whole(path, content.encode("utf-8"))


def _table(table: str | os.PathLike[str] | None) -> dict[str, str] | None:
    if table is None:
        return None
    source = Path(table)
    data = source.read_bytes()
    if len(data) > LARGEST_TABLE:
        raise ValueError(f"{source} has {len(data):,} bytes, and a page takes tables of up to {LARGEST_TABLE:,}")
    try:
        return {"name": source.name, "text": data.decode("utf-8-sig")}
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from None


def page(menu: Sequence[nets.Net], *, table: dict[str, str] | None = None, own: dict[str, Any] | None = None) -> str:
    """The text of the page, with these nets."""
    line, start = inspect.getsourcelines(nets.neuron)
    content = {
        "prepare": preparing(),
        "nets": [module_of(net) for net in menu],
        "features": list(nets.FEATURES),
        "classes": nets.CLASSES,
        "source": {"where": f"macrograd/browser/nets.py:{start + len(line) - 1}", "text": line[-1].strip()},
        "table": table,
        "own": own,
    }
    parts = {
        "@STYLE@": _text("page.css"),
        "@CONTENT@": in_page(content),
        "@WORKER@": _text("worker.js"),
        "@SCRIPT@": "\n".join(_text(f"{name}.js") for name in _SCRIPTS),
    }
    rest, found = _text("page.html"), []
    for mark, part in parts.items():  # in their order on the page; inserted text is not searched again
        head, _, rest = rest.partition(mark)
        found += [head, part]
    return "".join([*found, rest])


def _text(name: str) -> str:
    return files("macrograd.browser").joinpath("parts", name).read_text("utf-8")


def in_page(content: Any) -> str:
    """JSON in ASCII that cannot end the element that contains it."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
