"""Tries the playground's page in Chromium, and reads back what it exports: `make browser`.

    python tests/browser/check.py [FOLDER]

FOLDER keeps the page, its pictures and what it exported. Needs node with playwright-core, found from where the script
runs, and a Chromium: the one of the environment variable CHROMIUM, or chromium on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import macrograd as mg
import macrograd.browser
from macrograd import datasets, nn, optim

LARGEST = 300_000  # bytes of the page


def check(folder: Path) -> None:
    """Raises AssertionError or CalledProcessError if a check fails."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "there is no chromium: install one, or name one in CHROMIUM"
    page = mg.playground(path=folder / "page.html")
    size = page.stat().st_size
    assert size <= LARGEST, f"the page has {size:,} bytes, and should have up to {LARGEST:,}"
    script = Path(__file__).with_name("check.mjs")
    X, y = datasets.make_moons(120, noise=0.1, seed=1)
    X = np.hstack([X, np.zeros((120, 1))])
    trainer = mg.Trainer(nn.MLP(3, [6, 1], seed=1), scale="standard", optimizer=optim.Adam(0.01))
    trainer.fit(X, y, epochs=2, progress="none")
    own = mg.playground(trainer, X, y, path=folder / "own.html")
    moons = datasets.make_moons(100, noise=0.1, seed=1337)
    descent = optim.SGD(optim.linear(1.0, 0.1, 100))
    published = mg.Trainer(nn.MLP(2, [16, 16, 1], seed=1337), "hinge", descent, l2=1e-4, strict=True)
    published.fit(*moons, steps=0, progress="none")
    mg.playground(published, *moons, path=folder / "strict.html")
    subprocess.run(["node", str(script), str(page), str(own), str(folder), chromium], check=True)

    net = mg.from_playground(folder / "table.json")
    assert set(net.classes) == {"<b>one</b>", 'two, "quoted"', "three"}
    for sample in json.loads((folder / "table-answers.json").read_text()):
        for found, right in zip(net(sample["x"]), sample["y"], strict=True):
            assert abs(float(found.data) - right) <= 1e-5 * (1 + abs(right)), (sample, found)
    _check_c(folder, net)
    trained = json.loads((folder / "own.json").read_text())
    trainer.model.load_parameters(trained["parameters"])
    answers = json.loads((folder / "own-answers.json").read_text())
    found = trainer.outputs(np.reshape(answers["at"], (3, 3))).ravel()
    np.testing.assert_allclose(found, answers["outputs"], rtol=1e-5)
    said = subprocess.run(
        [sys.executable, "table.py"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert said[-1] in net.classes
    assert (folder / "net.c").exists()
    print(f"the page of {size:,} bytes is as it should be, and Python reads what it exports")


def _check_c(folder: Path, net: mg.browser.PlaygroundNet) -> None:
    """Check that the C file gives the net's answers."""
    if (cc := shutil.which("cc")) is None:
        print("there is no C compiler: the C file was not tried")
        return
    points = [sample["x"] for sample in json.loads((folder / "table-answers.json").read_text())]
    calls = "".join(
        f"net_predict(&s, (double[]){{{x!r}, {y!r}}}, v);"
        f' for (int k = 0; k < {len(net.classes)}; ++k) printf("%.17g\\n", v[k]);'
        for x, y in points
    )
    text = (folder / "table.c").read_text("utf-8")
    text += f"\n#include <stdio.h>\nint main(void) {{ static net_state s; double v[10]; {calls} return 0; }}\n"
    (folder / "tried.c").write_text(text, "utf-8")
    subprocess.run([cc, "-std=c99", "-Werror", "-o", "tried", "tried.c", "-lm"], cwd=folder, check=True)
    said = subprocess.run([str(folder / "tried")], check=True, capture_output=True, text=True).stdout.split()
    right = [float(y.data) for x in points for y in net(x)]
    np.testing.assert_allclose(np.array(said, dtype=float), right, rtol=1e-12)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        check(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            check(Path(temporary))
