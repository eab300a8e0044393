"""From a function of scalars to the functions of its derivatives.

    reverse.py    value_and_grad, grad: all derivatives of one result, in one reverse sweep
    forward.py    jvp, hvp: the derivatives of all results in one direction, in one forward sweep
    matrices.py   jacobian, hessian: as few sweeps as the sparsity pattern allows
    sparsity.py   the sparsity pattern and its colourings
    calls.py      shared by all: running a function on new leaves

They work eagerly on floats and (nested) lists, inside `macrograd.compile`, and on each other to any order: derivatives
are built by the op table's rules on the graph itself, so they are graphs that can be differentiated again.

The results are plain numbers if only numbers went in. If any Value went in, as an argument or closed over, the results
are Values, so that a loss built from derivatives (a gradient penalty, a differential equation) can be differentiated
with respect to those Values; `float(v)` is the number of one.
"""

from typing import TYPE_CHECKING

from macrograd._lazy import lazy

if TYPE_CHECKING:
    from macrograd.gradients.forward import hvp, jvp
    from macrograd.gradients.matrices import hessian, jacobian
    from macrograd.gradients.reverse import grad, value_and_grad
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "forward": "hvp, jvp",
            "matrices": "hessian, jacobian",
            "reverse": "grad, value_and_grad",
        },
    )

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad"]
