"""Runs of the whole harness on a job made for it: rows for what fails, turns for what works, and the command line."""

import dataclasses
import json
import sys
import textwrap

import pytest

from benchmarks import __main__ as command
from benchmarks import harness, machine, rounds

JOB = """
import os, time
from benchmarks.harness import Job, Prepared, Unavailable

JOB = Job("toy", what="a toy", unit="call", cases=("only",), tolerance=1e-9)
{extra}

@JOB.reference
def reference(case): return [1.0, 2.0]

@JOB.contender("c")
def c(case):
    print("chatter on standard output")
    return Prepared(lambda: None, lambda: [1.0, 2.0], units=2)

@JOB.contender("macrograd")
def macrograd(case): return Prepared(lambda: time.sleep({sleep}), lambda: [1.0, 2.0], extra={{"accuracy": 0.9}})

@JOB.contender("wrong")
def wrong(case): return Prepared(lambda: None, lambda: [1.0, 2.1])

@JOB.contender("absent", packages=("no_such_package",))
def absent(case): raise AssertionError

@JOB.contender("refusing")
def refusing(case): raise Unavailable("only on Sundays")

@JOB.contender("raising")
def raising(case): raise ValueError("boom")

@JOB.contender("crashing")
def crashing(case): os._exit(3)

@JOB.contender("hanging")
def hanging(case): time.sleep(3600)
"""

# Nothing is given up because the machine is busy.
PLAN = rounds.Plan(rounds=4, seconds=0.002, budget=1e9, case=1e9, patience=600.0)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A job named toy in a separate folder; call it with the macrograd contender's duration."""
    for name in ("benchmarks.toy",):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import benchmarks

    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    monkeypatch.setattr(harness, "JOBS", ("toy",))
    # The workers are separate processes: they find the folder through a module that Python runs at startup.
    site = f"import benchmarks\nbenchmarks.__path__.append({str(tmp_path)!r})\n"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(rounds.ROOT)!r})\n{site}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(command.rounds, "QUICK", PLAN)

    def write(sleep=0.001):
        monkeypatch.delitem(sys.modules, "benchmarks.toy", raising=False)
        (tmp_path / "toy.py").write_text(textwrap.dedent(JOB.format(extra="", sleep=sleep)))
        return harness.load("toy")

    return write


def test_what_cannot_be_timed_is_a_row_that_says_why(toy):
    job = toy()

    def measured(contenders, plan):
        return {
            r["name"]: r for r in rounds.measure(job, "only", contenders, plan, machine.last_core(), lambda _: None)
        }

    hanging = job.find("only", "hanging")
    rows = measured([one for one in job.of("only") if one is not hanging], PLAN)
    rows |= measured([hanging], dataclasses.replace(PLAN, patience=1.0))
    assert rows["wrong"]["failed"] == "disagrees with the reference: 5.0e-02 > 1e-09 (answer)"
    assert rows["absent"]["failed"] == "not installed: no_such_package"
    assert rows["refusing"]["failed"] == "only on Sundays"
    assert rows["raising"]["failed"] == "failed: ValueError: boom"
    assert rows["crashing"]["failed"] == "its process ended with status 3"
    assert rows["hanging"]["failed"] == "no answer within 1 s"
    assert {name for name, row in rows.items() if row.get("absent")} == {"absent", "refusing"}
    assert rows["c"]["rounds"] == rows["macrograd"]["rounds"] == PLAN.rounds
    assert rows["macrograd"]["median"] > 0.001  # it sleeps for as long
    assert rows["c"]["median"] > 0.0
    assert rows["c"]["units"] == 2


def test_the_command_prints_stores_and_compares(toy, tmp_path, capsys):
    toy()
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    arguments = ["--quick", "--json"]
    assert command.main([*arguments, str(old)]) == 0
    page = capsys.readouterr().out
    assert "toy/only: a toy" in page
    assert "accuracy 0.9" in page
    stored = json.loads(old.read_text())
    assert {r["name"] for r in stored["cases"]["toy/only"]["rows"]} == {"c", "macrograd"}
    assert stored["machine"]["packages"]["numpy"]

    # The old figures become those of something a thousand times as fast, with no spread, whatever the machine did; the
    # floor, an empty call, is left out of it.
    for row in stored["cases"]["toy/only"]["rows"]:
        if row["name"] == "c":
            del row["median"]
        else:
            row.update(dict.fromkeys(("median", "q1", "q3"), row["median"] / 1000))
    old.write_text(json.dumps(stored))
    assert command.main([*arguments, str(new), "--compare", str(old)]) == 1
    assert "toy/only: macrograd is" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--quick", "--try"])
def test_a_contender_of_ours_that_fails_is_the_exit_status(toy, capsys, monkeypatch, option):
    toy()
    monkeypatch.setattr(command.rounds, "TRIAL", dataclasses.replace(PLAN, rounds=1, seconds=0.0))
    monkeypatch.setattr(harness.Contender, "kind", property(lambda c: "peer" if c.name == "hanging" else "macrograd"))
    assert command.main([option]) == 1
    out = capsys.readouterr().out
    for line in ("crashing: its process ended with status 3", "raising: failed: ValueError: boom", "wrong: disagrees"):
        assert f"toy/only: {line}" in out
    for absent in ("toy/only: absent", "toy/only: refusing"):  # no fault: they cannot run here
        assert absent not in out


def test_resume_measures_only_what_is_missing_or_was_not_quiet(toy, tmp_path, capsys, monkeypatch):
    toy()
    path, arguments = tmp_path / "new.json", ["--quick", "--resume", "--json"]
    monkeypatch.setattr(command.machine, "QUIET", 1e6)
    command.main([*arguments, str(path)])
    stored = json.loads(path.read_text())
    entry = stored["cases"]["toy/only"]
    assert entry["others"] >= 0.0
    assert entry["seconds"] > 0.0
    entry["rows"][0]["note"] = "kept"

    def again(**changes):
        changed = {**stored, "cases": {"toy/only": {**entry, **changes}}}
        path.write_text(json.dumps(changed))
        capsys.readouterr()
        monkeypatch.setattr(rounds, "measure", lambda *given: [])
        command.main([*arguments, str(path)])
        return json.loads(path.read_text())["cases"]["toy/only"]["rows"], capsys.readouterr().out

    rows, out = again()
    assert rows[0]["note"] == "kept"
    assert "1 of 1 cases stay as they are" in out
    failed = [{**entry["rows"][1], "failed": "failed: ValueError: boom"}]
    for changes in ({"code": "other"}, {"others": 1e7}, {"plan": {}}, {"rows": failed}):
        rows, out = again(**changes)
        assert rows == []
        assert "0 of 1 cases stay as they are" in out
    path.write_text(json.dumps({**stored, "machine": {**stored["machine"], "cpu": "another"}}))
    with pytest.raises(SystemExit, match="was measured on another machine or with other packages"):
        command.main([*arguments, str(path)])
    with pytest.raises(SystemExit, match="--resume needs --json FILE"):
        command.main(["--quick", "--resume"])


def test_the_time_of_other_programs_is_told_from_our_own(monkeypatch):
    now, stat = [0.0], ["cpu 1000 0 0 5000 0 0 0 0"]
    monkeypatch.setattr(machine.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(machine.os, "times", lambda: (now[0], 0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(machine, "read", lambda path: stat[0])
    others = machine.Others()
    now[0], stat[0] = 10.0, "cpu 2000 0 300 9000 0 0 0 200"  # 15 s of everything in 10 s, of which 10 are ours
    assert others.used() == pytest.approx(0.5)
    monkeypatch.setattr(machine, "read", lambda path: None)
    assert machine.Others().used() is None


def test_with_chooses_peers_by_family(toy):
    job = toy()
    chosen = {c.name for c in job.of("only") if command.wanted(c, "absent,wro", quick=True)}
    assert chosen == {"c", "macrograd", "absent"}
    assert {c.name for c in job.of("only") if command.wanted(c, None, quick=True)} == {"c", "macrograd"}
    assert len([c for c in job.of("only") if command.wanted(c, None, quick=False)]) == 8


def test_a_job_or_case_that_does_not_exist_is_named():
    with pytest.raises(SystemExit, match="no job 'moon'; there are moons, "):
        command.main(["--job", "moon", "--list"])
    with pytest.raises(SystemExit, match="job 'moons' has no case 'x'; it has gradient, step"):
        command.main(["--job", "moons/x", "--list"])


def test_list_runs_nothing(capsys):
    assert command.main(["--list", "--job", "lorenz/200"]) == 0
    assert "200: c, macrograd, macrograd-bound, casadi" in capsys.readouterr().out
