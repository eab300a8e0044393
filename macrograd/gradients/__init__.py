"""From a function of scalars to the functions of its derivatives.

    reverse.py    value_and_grad, grad: all derivatives of one result, in one sweep back
    forward.py    jvp, hvp: the derivatives of all results in one direction, in one sweep ahead
    matrices.py   jacobian, hessian: as few sweeps as the pattern of zeros allows
    sparsity.py   that pattern, and the colourings
    calls.py      what all share: running a function on leaves of its own

They work eagerly on floats and (nested) lists, inside `macrograd.compile`, and on each other to any order: derivatives
are made by the op table's rules on the graph itself, so they are graphs that can be differentiated again.

Numbers come out where nothing but numbers went in. Where Values did, as arguments or closed over, Values come out, so
that a loss made of derivatives (a gradient penalty, a differential equation) can be differentiated by those Values;
`float(v)` is their number.
"""

from macrograd.gradients.forward import hvp, jvp
from macrograd.gradients.matrices import hessian, jacobian
from macrograd.gradients.reverse import grad, value_and_grad

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad"]
