"""Peers as several jobs use them: value and gradient of a function of one array of variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness import Prepared


def casadi_bound(function: Any, start: np.ndarray) -> Prepared:
    """A casadi Function variables → (value, gradient), with buffers bound once: the fastest way to call one."""
    buffer, call = function.buffer()
    variables, value, gradient = start.copy(), np.zeros(1), np.zeros(len(start))
    buffer.set_arg(0, memoryview(variables))
    buffer.set_res(0, memoryview(value))
    buffer.set_res(1, memoryview(gradient))
    # casadi holds addresses only: the function, its buffers and the arrays live as long as the closures below.
    held = (function, buffer, variables)

    def answer() -> dict[str, Any]:
        assert held
        call()
        return {"value": value[0], "gradient": gradient}

    return Prepared(call, answer)


def jax_value_and_grad(f: Any, start: np.ndarray) -> Prepared:
    """jax.jit of value_and_grad, float64."""
    import jax

    jax.config.update("jax_enable_x64", True)
    call = jax.jit(jax.value_and_grad(f))
    x = jax.device_put(start)
    return Prepared(
        lambda: jax.block_until_ready(call(x)), lambda: dict(zip(("value", "gradient"), call(x), strict=True))
    )


# XLA's newer fusion emitters need time exponential in the length of a scalar chain (jaxlib 0.10: 20 Euler steps
# take 3 s, 30 more than 100 s); scalar loops get them switched off, which is also faster to run.
JAX_SCALARS = {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"}


def jax_scalars(f: Any, start: np.ndarray) -> Prepared:
    """The same of a scalar loop over a list of variables; to be registered with `environment=JAX_SCALARS`."""
    import jax.numpy as jnp

    return jax_value_and_grad(lambda x: f(jnp.unstack(x)), start)
