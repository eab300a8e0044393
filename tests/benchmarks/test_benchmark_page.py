"""The page of the benchmarks: targets judged from figures, losses found in them, curves with their slopes."""

import json
from collections import defaultdict

import numpy as np
import pytest

from benchmarks import harness, page, recipe, report, scaling, tables, targets


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
        "commit": "0123456789ab",
    }
    machine["date"] = "2026-11-28T12:00"
    return {"machine": machine, "plan": {"rounds": 3, "seconds": 0.05}, "cases": entries, "tables": {}}


def elsewhere(cpu, **cases):
    """A result of another machine."""
    found = result(**cases)
    found["machine"]["cpu"] = cpu
    return found


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
    whole = result(moons__step=[MOONS[0], failed])
    cases, text = whole["cases"], page.targets_table([whole])
    assert "| moons/step | time of a step, in C floors | – | ≤ 1.5 × | macrograd: no answer within 12 s |" in text
    assert "- **moons/step**: `macrograd` gives no figure: no answer within 12 s." in page.losses(cases)


def test_who_is_faster_than_macrograd_is_named():
    text = page.losses(result(moons__step=MOONS)["cases"])
    assert "- **moons/step**: faster than `macrograd` by the factor given: c (2.00 ×)." in text
    assert "jax-scan" not in text


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda t: f"{t.case} {t.what}")
def test_every_target_names_a_case_that_exists(target):
    name, _, case = target.case.partition("/")
    if name == "tables":
        assert case in tables.TABLES
        return
    assert case in harness.load(name).cases


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda t: f"{t.case} {t.what}")
def test_every_target_can_be_measured_from_the_rows_of_its_case(target):
    """Its rows are those of contenders: a name that is none would never be judged."""
    name, _, case = target.case.partition("/")
    if name == "tables":
        return
    extra = defaultdict(lambda: 1.0, installed="265 MB with requirements")
    rows = {c.name: row(c.name, c.kind, 1.0, extra=extra, units=1) for c in harness.load(name).of(case)}
    assert np.isfinite(target.measure(rows))


def test_the_quick_cases_exist():
    for job in map(harness.load, harness.available()):
        assert set(job.quick) <= set(job.cases)
        assert job.quick


def test_the_page_and_its_picture_are_written(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [{"name": "batch", "what": "batch size", "points": [{"at": 1, "time": 1e-6, "ready": 0.1, "memory": 5.0}]}]
    whole = result(moons__step=MOONS) | {"scaling": curves}
    whole["cases"]["moons/step"]["others"] = 0.01
    whole["tables"]["export"] = {"text": "| digits | file |", "others": 0.0}
    page.publish([whole], tmp_path, tmp_path / "none.md")
    assert (tmp_path / "images" / "benchmarks.png").read_bytes()[:4] == b"\x89PNG"
    text = (tmp_path / "benchmarks.md").read_text()
    assert "**a CPU**, 2 cores" in text.split("## Against the targets")[0]
    assert "The machine was quiet." in text
    assert "Not installed: torch." in text
    assert "## Exported files" in text
    assert "## GradBench" in text
    assert report.table("moons/step", whole["cases"]["moons/step"]).splitlines()[3].strip() in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["benchmarks.md", "images"]


def test_figures_are_kept_for_each_kind_of_machine_and_only_quiet_ones(tmp_path):
    here, there = result(moons__step=MOONS), elsewhere("Another CPU (R)", moons__step=MOONS)
    for one in (there, here):
        page.keep(one, tmp_path)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a-cpu-2-cores.json", "another-cpu-r-2-cores.json"]
    assert page.others(here["machine"], tmp_path) == [there]
    later = result(one__predict=MOONS)
    page.keep(later, tmp_path)
    assert page.others(there["machine"], tmp_path) == [later]
    later["cases"]["one/predict"]["others"] = 0.8
    later["machine"]["date"] = "2026-12-01T12:00"
    page.keep(later, tmp_path)
    assert page.others(there["machine"], tmp_path)[0]["machine"]["date"] == "2026-11-28T12:00"
    assert page.others(here["machine"], tmp_path / "none") == []


def test_a_run_that_was_not_quiet_is_published_only_if_asked_for_and_says_so(tmp_path):
    whole = result(moons__step=MOONS, one__predict=MOONS)
    whole["cases"]["one/predict"]["others"] = 0.8
    with pytest.raises(page.NotQuiet, match=r"other programs ran during one/predict \(0.80 cores\)"):
        page.publish([whole], tmp_path, tmp_path / "README.md")
    assert not list(tmp_path.iterdir())
    page.publish([whole], tmp_path, tmp_path / "README.md", busy=True)
    head = (tmp_path / "benchmarks.md").read_text().split("## Against the targets")[0]
    assert "**Not quiet**: other programs used up to 0.8 cores during 1 of 2 cases and tables." in head


def test_a_run_in_which_a_contender_of_ours_failed_is_not_published(tmp_path, monkeypatch):
    """A row that failed stood on the page for a day: its benchmark reached into code that had changed."""
    whole, file = result(moons__step=MOONS, one__predict=MOONS), tmp_path / "figures.json"
    monkeypatch.setattr(page.publish, "__defaults__", (tmp_path, tmp_path / "README.md", False))

    def publish(name, kind, **reply):
        row = {"name": name, "kind": kind, "note": "", "failed": "failed: AttributeError: functions", **reply}
        whole["cases"]["one/predict"]["rows"] = [*MOONS, row]
        file.write_text(json.dumps(whole))
        return page.main([str(file)])

    for name, kind in (("macrograd-bound", "macrograd"), ("c-lanes", "floor")):
        with pytest.raises(SystemExit, match=rf"one/predict \({name}: failed: AttributeError: functions\). Mend"):
            publish(name, kind)
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]
    assert publish("torch", "peer") == 0
    assert publish("macrograd-wasm", "macrograd", absent=True) == 0
    whole["tables"]["recipe"] = {"failed": "no such module", "others": 0.0}
    with pytest.raises(page.Faulty, match=r"recipe \(no such module\)"):
        page.check(whole)


def test_cases_of_other_code_than_the_rest_are_named():
    whole = result(moons__step=MOONS, one__predict=MOONS, wide__step=MOONS)
    assert "of other revisions" not in page.setting(whole)
    for name, entry in whole["cases"].items():
        entry["code"] = "old" if name == "one/predict" else "new"
    assert "commit 0123456789ab (one/predict: of other revisions);" in page.setting(whole)
    assert "of other revisions" not in page.setting(result())


def test_the_readme_has_the_worst_machine(tmp_path):
    slower = [row("c", "floor", 1e-6), row("macrograd", "macrograd", 2e-6), row("jax-scan", "peer", 4e-6)]
    machines = [result(moons__step=MOONS), elsewhere("another CPU", moons__step=slower)]
    file = tmp_path / "README.md"
    file.write_text(f"before\n{page.MARKS[0]}old\n{page.MARKS[1]}after\n")
    page.publish(machines, tmp_path, file)
    text = file.read_text()
    assert "| training step, 2-16-16-1, 32 samples | 0.50 | 2.00 | – |" in text
    assert "The worst of several machines: a CPU (2026-11-28) and another CPU (2026-11-28)." in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    table = page.targets_table(machines)
    assert "| job | figure | a CPU | another CPU | target | |" in table
    assert "| moons/step | faster than JAX scan | 4.50 × | 2.00 × | ≥ 4 × | **missed** |" in table


def test_the_readme_has_the_places_for_its_table():
    assert all(page.README.read_text("utf-8").count(mark) == 1 for mark in page.MARKS)


def test_a_floor_that_is_beaten_is_explained_or_named():
    fast = [row("c", "floor", 3e-6), row("c-vectors", "floor", 2e-6), row("macrograd", "macrograd", 1e-6)]
    whole = result(moons__step=fast, one__predict=fast)
    whole["cases"]["one/predict"]["beaten"] = "one pass less."
    text = page.beaten(whole["cases"])
    assert "- **moons/step**: 0.50 of the time of `c-vectors`: **no explanation yet**" in text
    assert "- **one/predict**: 0.50 of the time of `c-vectors`: one pass less." in text
    assert page.beaten(result(moons__step=MOONS)["cases"]) == "No C floor is beaten by more than 5 %.\n"


def test_rows_on_several_cores_are_compared_with_none_on_one():
    rows = [*MOONS, row("macrograd-2", "macrograd", 0.5e-6, threads=2), row("jax-scan-2", "peer", 1e-6, threads=2)]
    whole = result(moons__step=rows)
    assert page.fastest(rows, "macrograd")["name"] == "macrograd"
    assert page.beaten(whole["cases"]).startswith("No C floor is beaten")
    assert "jax" not in page.losses(whole["cases"]).split("**Getting ready**")[0]
    assert page.least([whole], "moons/step", "macrograd", ("jax",)) == pytest.approx(4.5)


def test_the_recipes_last_line_is_judged():
    scores = {"macrograd": ([0.9, 0.8], [3.0, 1.0]), "MLP": ([0.8, 0.85], [1.0, 1.0])}
    entries = {
        name: {"contenders": {who: {"scores": [s[k]], "seconds": [t[k]]} for who, (s, t) in scores.items()}}
        for k, name in enumerate(("wine", "iris"))
    }
    whole = result() | {"tables": {"recipe": {"text": f"| a | table |\n{recipe.summary(entries)}"}}}
    text = page.targets_table([whole])
    assert "| share of tables with a better score than MLP's | 0.50 × | ≥ 0.75 × | **missed** |" in text
    assert "| time of all fits, in MLP's | 2.00 × | ≤ 1 × | **missed** |" in text


def test_the_fastest_floor_is_the_one_that_targets_use():
    floors = [row("c", "floor", 4e-6), row("c-vectors", "floor", 1e-6), row("macrograd", "macrograd", 2e-6)]
    found = {t.what: figure for t, figure, _ in targets.judged(result(moons__step=floors)["cases"])}
    assert found["time of a step, in C floors"] == pytest.approx(2.0)


def test_runs_of_one_machine_are_merged_case_by_case():
    other = result(one__predict=MOONS)
    merged = page.merged([result(moons__step=MOONS), other, elsewhere("another CPU", one__predict=MOONS)])
    assert [list(m["cases"]) for m in merged] == [["moons/step", "one/predict"], ["one/predict"]]


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
