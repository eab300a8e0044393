"""The page of the benchmarks: targets judged from figures, losses found in them, curves with their slopes."""

import numpy as np
import pytest

from benchmarks import harness, page, report, scaling, targets


def row(name, kind, median, **more):
    times = {"median": median, "q1": median, "q3": median, "import": 0.1, "setup": 0.05, "first": 0.05}
    return {"name": name, "kind": kind, **times, "peak_mb": 50.0, "job_mb": 1.0, **more}


def result(**cases):
    entries = {
        name.replace("__", "/"): {"what": "a job", "unit": "step", "baseline": "c", "rows": rows}
        for name, rows in cases.items()
    }
    machine = {
        "date": "today",
        "cpu": "a CPU",
        "cores": 2,
        "vector_flags": ["avx2"],
        "system": "Linux-1",
        "python": "3.12",
        "c_compiler": "gcc",
        "packages": {"numpy": "2.0", "torch": None},
        "load_at_start": [3.0, 1.0, 1.0],
    }
    return {"machine": machine, "plan": {"rounds": 3, "seconds": 0.05}, "cases": entries}


MOONS = [row("c", "floor", 1e-6), row("macrograd", "macrograd", 2e-6), row("jax-scan", "peer", 9e-6)]


def test_targets_are_judged_by_ratios_of_one_case():
    found = {t.what: (t, figure, why) for t, figure, why in targets.judged(result(moons__step=MOONS)["cases"])}
    target, figure, _ = found["time of a step, in C floors"]
    assert figure == pytest.approx(2.0)
    assert not target.reached(figure)
    assert found["a gradient, bound"][1] is None
    target, figure, why = found["faster than PyTorch"]
    assert (figure, why) == (None, "a contender did not take part")


def test_a_target_whose_row_failed_says_why():
    failed = {"name": "macrograd", "kind": "macrograd", "failed": "no answer within 12 s"}
    cases = result(moons__step=[MOONS[0], failed])["cases"]
    text = page.targets_table(cases)
    assert "| moons/step | time of a step, in C floors | – | ≤ 1.5 × | macrograd: no answer within 12 s |" in text
    assert "- **moons/step**: `macrograd` gives no figure: no answer within 12 s." in page.losses(cases)


def test_who_is_faster_than_macrograd_is_named():
    text = page.losses(result(moons__step=MOONS)["cases"])
    assert "- **moons/step**: faster than `macrograd` by the factor given: c (2.00 ×)." in text
    assert "jax-scan" not in text


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda t: f"{t.case} {t.what}")
def test_every_target_names_a_case_that_exists(target):
    name, _, case = target.case.partition("/")
    assert case in harness.load(name).cases


def test_the_quick_cases_exist():
    for job in map(harness.load, harness.available()):
        assert set(job.quick) <= set(job.cases)
        assert job.quick


def test_the_page_and_its_picture_are_written(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [{"name": "batch", "what": "batch size", "points": [{"at": 1, "time": 1e-6, "ready": 0.1, "memory": 5.0}]}]
    whole = result(moons__step=MOONS)
    page.publish(whole, curves, tmp_path)
    assert (tmp_path / "images" / "benchmarks.png").read_bytes()[:4] == b"\x89PNG"
    text = (tmp_path / "benchmarks.md").read_text()
    assert "a CPU" in text
    assert "It was not quiet" in text
    assert report.table("moons/step", whole["cases"]["moons/step"]).splitlines()[3].strip() in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["benchmarks.md", "images"]


def test_runs_are_merged_case_by_case():
    other = result(one__predict=MOONS)
    assert set(page.merged([result(moons__step=MOONS), other])["cases"]) == {"moons/step", "one/predict"}


def test_slope_is_that_of_the_logarithms():
    xs = [1.0, 2.0, 4.0, 8.0]
    assert scaling.slope(xs, [3.0 * x**1.5 for x in xs]) == pytest.approx(1.5)


def test_curves_tell_their_slope_and_what_failed():
    points = [{"at": x, "time": 1e-6 * x, "ready": 0.1, "memory": 10.0} for x in (1, 2)]
    text = scaling.section([{"name": "batch", "what": "batch size", "points": [*points, {"at": 4, "failed": "boom"}]}])
    assert "| a gradient | 1.00 µs | 2.00 µs | boom | 1.00 |" in text


@pytest.mark.parametrize("name", ["batch", "scalars"])
def test_a_point_of_a_curve_is_measured(name):
    figures = scaling.scalars(200) if name == "scalars" else scaling.net(**scaling.grown(name, 8))
    assert all(np.isfinite(list(figures.values())))
    assert 0.0 < figures["time"] < figures["ready"]
