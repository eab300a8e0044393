"""Whole micrograd programs, word for word but for the name of the package.

Each is a text that imports `micrograd`; it runs here with `macrograd` in that name's place. What it must print was
printed by micrograd 0.1.0 on the same text.
"""

from __future__ import annotations

import contextlib
import io

import pytest

README = """
from micrograd.engine import Value

a = Value(-4.0)
b = Value(2.0)
c = a + b
d = a * b + b**3
c += c + 1
c += 1 + c + (-a)
d += d * 2 + (b + a).relu()
d += 3 * d + (b - a).relu()
e = c - d
f = e**2
g = f / 2.0
g += 10.0 / f
print(f'{g.data:.4f}')
g.backward()
print(f'{a.grad:.4f}')
print(f'{b.grad:.4f}')
"""

DEMO = """
import random
from micrograd.engine import Value
from micrograd.nn import Neuron, Layer, MLP, Module

random.seed(1337)
X = [[random.uniform(-1, 1), random.uniform(-1, 1)] for _ in range(12)]
y = [1 if a * b > 0 else -1 for a, b in X]
model = MLP(2, [6, 6, 1])
print(len(model.parameters()), isinstance(model, Module))

def loss():
    inputs = [list(map(Value, row)) for row in X]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
    data_loss = sum(losses) * (1.0 / len(losses))
    reg_loss = 1e-4 * sum((p * p for p in model.parameters()))
    total = data_loss + reg_loss
    accuracy = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(y, scores)]
    return total, sum(accuracy) / len(accuracy)

for k in range(20):
    total, accuracy = loss()
    model.zero_grad()
    total.backward()
    rate = 0.3 - 0.27 * k / 20
    for p in model.parameters():
        p.data -= rate * p.grad
    if k % 5 == 0:
        print("step %d loss %.8f accuracy %.1f" % (k, total.data, accuracy * 100))
"""

OWN_MODULE = """
import random
from micrograd.engine import Value
from micrograd.nn import Layer, Module, Neuron

class Sum(Module):
    def __init__(self):
        self.hidden = Layer(3, 4, nonlin=True)
        self.out = Neuron(4, nonlin=False)

    def __call__(self, x):
        return self.out(self.hidden(x))

    def parameters(self):
        return self.hidden.parameters() + self.out.parameters()

random.seed(7)
net = Sum()
print([n.nonlin for n in net.hidden.neurons], net.out.nonlin, len(net.out.w), net.out.b.data == 0)
for _ in range(30):
    loss = sum(((net(x) - t) ** 2 for x, t in [([1.0, 2.0, 3.0], 0.5), ([0.0, -1.0, 0.5], -0.5)]), Value(0))
    for p in net.parameters():
        p.grad = 0
    loss.backward()
    for p in net.parameters():
        p.data += -0.01 * p.grad
print("%.6f" % loss.data)
"""

TRACE_GRAPH = """
from micrograd.engine import Value

def trace(root):
    nodes, edges = set(), set()
    def build(v):
        if v not in nodes:
            nodes.add(v)
            for child in v._prev:
                edges.add((child, v))
                build(child)
    build(root)
    return nodes, edges

x = Value(1.0)
y = (x * 2 + 1).relu()
y.backward()
nodes, edges = trace(y)
print(len(nodes), len(edges), sum(1 for n in nodes if n._op))
print(sorted("{ data %.4f | grad %.4f }" % (n.data, n.grad) for n in nodes if n._op or n is x))
"""

ACCUMULATE = """
from micrograd.engine import Value

x = Value(3.0)
y = x * x + 2 * x
y.backward()
y.grad = 0
z = x - 1
(z * z).backward()
print(x.grad)
w = Value(2.0)
(1 / w).backward()
(w ** -2).backward()
print("%.6f" % w.grad, (-w).data, (5 - w).data, (w / 4).data, (8 / w).data)
"""

PROGRAMS = {
    "readme": README,
    "demo": DEMO,
    "own module": OWN_MODULE,
    "trace": TRACE_GRAPH,
    "accumulate": ACCUMULATE,
}

PRINTED = {
    "readme": """24.7041
138.8338
645.5773
""",
    "demo": """67 True
step 0 loss 1.02065511 accuracy 50.0
step 5 loss 0.73776764 accuracy 66.7
step 10 loss 0.69390929 accuracy 66.7
step 15 loss 0.66826718 accuracy 66.7
""",
    "own module": """[True, True, True, True] False 4 True
0.134018
""",
    "trace": """6 5 3
['{ data 1.0000 | grad 2.0000 }', '{ data 2.0000 | grad 1.0000 }', '{ data 3.0000 | grad 1.0000 }', \
'{ data 3.0000 | grad 1.0000 }']
""",
    "accumulate": """12.0
-0.500000 -2.0 3.0 0.5 4.0
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_with_only_the_name_changed(name: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAMS[name].replace("micrograd", "macrograd"), {"__name__": "__main__"})  # noqa: S102 - texts of this file
    assert printed.getvalue() == PRINTED[name]


def test_every_way_to_import_the_engine() -> None:
    import macrograd
    import macrograd.engine
    from macrograd import engine
    from macrograd.engine import Value

    assert engine is macrograd.engine
    assert Value is macrograd.Value is engine.Value


def test_unseeded_nets_draw_from_pythons_own_generator() -> None:
    import random

    from macrograd import nn

    random.seed(1337)
    expected = [random.uniform(-1, 1) for _ in range(3)]
    random.seed(1337)
    first, second = nn.Neuron(3), nn.Neuron(3)
    assert [w.data for w in first.w] == expected
    assert [w.data for w in second.w] != expected
