"""Every job's contenders compute the same thing: those that need no peer answer here, against the reference."""

import shutil

import numpy as np
import pytest

from benchmarks import data, gpt, harness, native, statistics

JOBS = {name: harness.load(name) for name in harness.available()}

# The compiled programs that take longer than a test may; the benchmark itself compares them before it times them.
SLOW = {
    ("lorenz", "10000", "macrograd"),
    ("lorenz", "10000", "macrograd-bound"),
    ("lorenz", "200", "macrograd"),
    ("west", "gradient", "macrograd"),
    ("west", "all", "macrograd"),
    ("irregular", "10000", "macrograd"),
    ("irregular", "100000", "macrograd"),
    ("irregular", "100000", "macrograd-eager"),
    ("irregular", "100000", "macrograd-bound"),  # the same code as for 10,000, on either side
    ("irregular", "100000", "c"),
    ("irregular", "100000", "c-levels"),
    ("irregular", "1000", "c-straight"),
    ("digits", "gradient", "c-lanes"),  # 128/200 and 32/32 have all of its code
    ("digits", "128/32", "c-lanes"),
    ("wide", "gradient", "c-lanes"),
    ("wide", "step", "c-lanes"),
    ("start", "many", "macrograd"),
    ("asian", "greeks", "macrograd"),
    ("asian", "greeks", "macrograd-2"),
    *[("export", case, f"macrograd{how}") for case in ("moons", "digits") for how in ("-c-file", "-wasm")],
    ("export", "digits", "macrograd"),
    ("digits", "gradient", "macrograd"),
    ("digits", "128/32", "macrograd"),
    ("digits", "128/200", "macrograd"),
    ("digits", "128/32", "macrograd-python"),
    ("wide", "gradient", "macrograd"),
    ("wide", "gradient", "macrograd-bound"),
    ("wide", "step", "macrograd"),
    ("wide", "step", "macrograd-2"),
    *[("mid", "gradient", f"macrograd{how}") for how in ("", "-bound")],
    *[("large", "step", f"macrograd{how}") for how in ("", "-2")],
    ("wide", "step", "macrograd-python"),
    *[("many", case, f"macrograd{how}") for case in ("batch-1", "batch-32", "digits") for how in ("", "-alone", "-2")],
    ("accuracy", "128", "macrograd"),
    ("fit", "moons", "macrograd"),
    ("fit", "moons", "macrograd-checkpoint"),
    ("fit", "digits", "macrograd"),
    ("fit", "digits", "macrograd-checkpoint"),
    ("fit", "long", "macrograd"),
    ("fit", "long", "macrograd-interrupted"),
    ("demo", "process", "macrograd"),
    ("ready", "net-100000", "macrograd"),
    ("ready", "net-1000000", "macrograd"),
    ("ready", "loop-100000", "macrograd"),
    ("ready", "kalman-50000", "macrograd"),
    ("ready", "kalman-50000", "macrograd-loop"),
    ("kalman", "recorded-50000", "macrograd"),
    ("kalman", "recorded-50000", "macrograd-bound"),
    ("ready", "random-10000", "macrograd"),
    ("ready", "random-100000", "macrograd"),
    ("ready", "chain-2000", "macrograd"),
}


@pytest.fixture(autouse=True, scope="module")
def _floors_compile_quickly():
    """What is tested is what they compute; gcc takes five times as long to make them fast. The benchmark compares the
    fast ones with the definition, too, before it times them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "FLAGS", ["-O1" if flag == "-O3" else flag for flag in native.FLAGS])
        yield


def own(kind):
    return [
        pytest.param(job, case, contender, id=f"{name}-{case}-{contender.name}")
        for name, job in JOBS.items()
        for case, contender in job.contenders
        if contender.kind == kind and (name, case, contender.name) not in SLOW
    ]


def check(job, case, contender):
    prepared = contender.adapter(case)
    gap, where = statistics.difference(prepared.answer(), job.right_answer(case))
    assert gap <= contender.tolerance, where


@pytest.mark.skipif(not any(map(shutil.which, ("gcc", "cc", "clang"))), reason="the floors need a C compiler")
@pytest.mark.parametrize(("job", "case", "contender"), own("floor"))
def test_c_floors_agree_with_the_definition(job, case, contender):
    check(job, case, contender)
    assert np.float64(5e-324) * np.float64(1.0) > 0.0, "its library makes the whole process flush subnormal numbers"


@pytest.mark.skipif(not any(map(shutil.which, ("gcc", "cc", "clang"))), reason="the floors need a C compiler")
@pytest.mark.parametrize("case", gpt.JOB.cases)
def test_the_gpt_floor_takes_the_steps_that_macrograd_takes(case):
    """The job's answer is of one gradient only: this is of Adam, and of the order of the documents."""
    floor, ours = gpt.c(case).run(), gpt.macrograd(case).run()
    np.testing.assert_allclose(floor, getattr(ours, "losses", ours), rtol=1e-5)


@pytest.mark.parametrize(("job", "case", "contender"), own("macrograd"))
def test_macrograd_agrees_with_the_definition(job, case, contender):
    check(job, case, contender)


def test_the_slow_ones_exist():
    there = {(name, case, c.name) for name, job in JOBS.items() for case, c in job.contenders}
    assert there >= SLOW


@pytest.mark.parametrize("name", JOBS)
def test_every_case_has_a_macrograd_row_a_baseline_and_unique_names(name):
    job = JOBS[name]
    for case in job.cases:
        names = [c.name for c in job.of(case)]
        assert len(names) == len(set(names))
        assert any(c.kind == "macrograd" for c in job.of(case))
        assert job.baseline in names or (name, case) == ("demo", "process")


def test_flat_and_split_are_inverse():
    pairs = data.layers((3, 4, 2), seed=1)
    back = data.split(data.flat(pairs), (3, 4, 2))
    for (W, b), (V, c) in zip(pairs, back, strict=True):
        np.testing.assert_array_equal(W, V)
        np.testing.assert_array_equal(b, c)


def test_without_a_c_compiler_a_floor_says_so(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    with pytest.raises(harness.Unavailable, match="install gcc or clang, or set CC"):
        native.library("moons", BATCH=32)


def test_a_contender_for_a_case_that_does_not_exist_is_an_error():
    job = harness.Job("x", what="", unit="", cases=("a",), tolerance=1e-9)
    with pytest.raises(ValueError, match="names cases that the job has not"):
        job.contender("c", cases=("b",))


def test_the_native_time_of_a_run_is_seen():
    """The share of Python in an epoch is what is not native: a fit must not be all of it, or none."""
    from benchmarks import fit

    with fit.native_time() as spans:
        fit.Training("moons").fit(64)
    assert spans
    assert all(begin <= end for begin, end in spans)
    assert spans == sorted(spans)


@pytest.mark.filterwarnings("ignore:the features differ in scale")  # pixels, which the benchmark takes as they are
@pytest.mark.parametrize(
    ("case", "name"),
    [
        (case, c.name)
        for case, c in JOBS["fit"].contenders
        if c.name not in ("c", "macrograd-interrupted") and (case, c.name) != ("digits", "macrograd")  # as moons
    ],
)
def test_every_contender_of_fit_gives_its_figures(case, name, monkeypatch):
    """They reach into what they measure, and their runs are too long for the test of all contenders."""
    from benchmarks import fit

    monkeypatch.setattr(fit, "STEPS", dict.fromkeys(fit.STEPS, 200))
    monkeypatch.setattr(fit, "LONG", 2_000)
    contender = fit.JOB.find(case, name)
    prepared = contender.adapter(case)
    gap, where = statistics.difference(prepared.answer(), fit.JOB.right_answer(case))
    assert gap <= contender.tolerance, where
    prepared.run()
    shares = [figure for what, figure in prepared.extra.items() if what.endswith("share of the time, %")]
    assert all(share >= 0.0 for share in shares)
    assert bool(shares) == (name in ("macrograd", "macrograd-checkpoint"))
