"""A stiff reaction and its rates: `python examples/robertson.py [--casadi] [--jax]`.

Three substances react at rates that are nine orders of magnitude apart. Each step of the implicit Euler method is an
equation, which `mg.implicit` solves by as many steps of Newton's method as it needs, and differentiates without going
through them. `mg.least_squares` finds the rates from noisy concentrations, with the compiled Jacobian. With --casadi
the Jacobian is taken by CasADi's rootfinder, too, and with --jax by JAX, forwards through Newton's method in a
while_loop, in the same run, if they are installed.

Source: Robertson, *The Solution of a Set of Reaction Rate Equations*, 1966; Hairer & Wanner, *Solving Ordinary
Differential Equations II*, 2nd ed., 1996, §IV.1.
"""

import argparse
import time
from statistics import median

import numpy as np

import macrograd as mg

RATES = np.array([0.04, 3e7, 1e4])
GUESS = np.array([0.1, 1e7, 3e4])
TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 25)])
SCALES = np.array([1.0, 1e5, 1.0])  # the second substance is rare


def change(y, rates):
    """The rates of change of the first two; the third is what is missing to 1."""
    k1, k2, k3 = rates
    first = -k1 * y[0] + k3 * y[1] * (1.0 - y[0] - y[1])
    return first, -first - k2 * y[1] * y[1]


def concentrations(rates, times=TIMES):
    """All three at every time but the first, scaled, from 1, 0, 0."""
    lengths = np.diff(times).tolist()

    def step(i, y):
        h = mg.take(lengths, i)

        def residual(new):
            slopes = change(new, rates)
            return [SCALES[k] * (new[k] - y[k] - h * slopes[k]) for k in range(2)]

        y = mg.implicit(residual, y, most=10)
        return y, [y[0] * SCALES[0], y[1] * SCALES[1], 1.0 - y[0] - y[1]]

    _, found = mg.loop(len(lengths), step, [1.0, 0.0], collect=True)
    return [x for row in zip(*found, strict=True) for x in row]


def observations(noise=0.01, seed=0, times=TIMES):
    exact = np.array([float(x) for x in concentrations(RATES.tolist(), times)])
    return exact + noise * np.random.default_rng(seed).normal(size=len(exact))


def misses(observed, times=TIMES):
    """The residuals as a function of the logarithms of the rates."""

    def of(logarithms):
        found = concentrations([mg.exp(x) for x in logarithms], times)
        return [a - b for a, b in zip(found, observed, strict=True)]

    return of


def fit(observed, times=TIMES):
    result = mg.least_squares(misses(observed, times), np.log(GUESS), method="lm")
    return np.exp(result.x), result


def with_casadi(times=TIMES):
    """CasADi's Jacobian of the concentrations by the logarithms of the rates, as a function of these."""
    import casadi

    y, old, h, logarithms = casadi.SX.sym("y", 2), casadi.SX.sym("o", 2), casadi.SX.sym("h"), casadi.SX.sym("l", 3)
    slopes = change([y[0], y[1]], [casadi.exp(logarithms[k]) for k in range(3)])
    scale = casadi.DM(SCALES[:2])
    rest = scale * (y - old - h * casadi.vertcat(*slopes))
    parameters = casadi.vertcat(old, h, logarithms)
    # with its line search, the default, it does not converge here
    solver = casadi.rootfinder(
        "step", "newton", {"x": y, "p": parameters, "g": rest}, {"abstol": 1e-9, "line_search": False}
    )
    rates, state, found = casadi.MX.sym("l", 3), casadi.DM([1.0, 0.0]), []
    for step in np.diff(times).tolist():
        state = solver(x0=state, p=casadi.vertcat(state, step, rates))["x"]
        found += [state[0] * SCALES[0], state[1] * SCALES[1], 1.0 - state[0] - state[1]]
    call = casadi.Function("jacobian", [rates], [casadi.jacobian(casadi.vertcat(*found), rates)])
    return lambda x: np.array(call(x))


def with_jax(times=TIMES):
    """JAX's Jacobian, compiled, float64, in forward mode, which goes through loops of any length."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    scales = jnp.array(SCALES)

    def concentrations_of(logarithms):
        rates = jnp.exp(logarithms)

        def step(y, h):
            def residual(new):
                return scales[:2] * (new - y - h * jnp.array(change(new, rates)))

            def newton(state):
                new, _, k = state
                move = jnp.linalg.solve(jax.jacfwd(residual)(new), residual(new))
                return new - move, jnp.abs(scales[:2] * move).max(), k + 1

            def unsettled(state):
                return (state[1] > 1e-9) & (state[2] < 10)

            new, _, _ = jax.lax.while_loop(unsettled, newton, (y, jnp.inf, 0))
            return new, jnp.array([new[0], new[1] * scales[1], 1.0 - new[0] - new[1]])

        return jax.lax.scan(step, jnp.array([1.0, 0.0]), jnp.diff(jnp.array(times)))[1].ravel()

    call = jax.jit(jax.jacfwd(concentrations_of))
    return lambda x: np.asarray(call(x))


def main(casadi=False, jax=False, times=TIMES):
    observed = observations(times=times)
    start = time.perf_counter()
    rates, result = fit(observed, times)
    print(
        f"{result.nfev} evaluations and {result.njev} Jacobians in {time.perf_counter() - start:.2f} s with compiling"
    )
    for name, truth, guess, found in zip("123", RATES, GUESS, rates, strict=True):
        print(f"k{name}: {truth:.4g} in truth, {guess:.4g} guessed, {found:.4g} found")
    peers = {"CasADi": with_casadi} if casadi else {}
    if jax:
        peers["JAX"] = with_jax
    if peers:
        compare(peers, observed, times)


def compare(peers, observed, times, rounds=21):
    """Print how long a Jacobian takes, in turns, and how far the peers' are from ours."""
    made = {"macrograd": lambda _: mg.compile(mg.jacobian(misses(observed, times))), **peers}
    at, calls, found = np.log(RATES), {}, {}
    for name, make in made.items():
        start = time.perf_counter()
        calls[name] = make(times)
        found[name] = np.asarray(calls[name](at))
        print(f"{name}: ready in {time.perf_counter() - start:.2f} s")
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            np.asarray(call(at))
            seconds[name].append(time.perf_counter() - start)
    for name, each in seconds.items():
        difference = np.abs(found[name] - found["macrograd"]).max()
        print(f"a Jacobian: {name} {1e3 * median(each):.3f} ms; it differs by {difference:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--casadi", action="store_true")
    parser.add_argument("--jax", action="store_true")
    args = parser.parse_args()
    main(args.casadi, args.jax)
