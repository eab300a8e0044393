"""Finding parameters: their names, their order, and each of them once."""

from __future__ import annotations

from macrograd import Value, nn
from macrograd.nn import MLP, Layer, Module, Neuron


def test_names_and_order() -> None:
    model = MLP(2, [4, 1], seed=0)
    names = list(model.named_parameters())
    assert names[:4] == ["layers.0.neurons.0.w.0", "layers.0.neurons.0.w.1", "layers.0.neurons.0.b", names[3]]
    assert "layers.0.neurons.3.w.1" in names
    assert names[-1] == "layers.1.neurons.0.b"
    assert list(model.named_parameters().values()) == model.parameters()
    assert model.parameters() == [p for layer in model.layers for n in layer.neurons for p in [*n.w, n.b]]


class Everything(Module):
    def __init__(self) -> None:
        self.scale = Value(1.0)
        self.heads = {"key": [Value(2.0)], 7: (Value(3.0), Neuron(1))}
        self.again = self.scale
        self.text, self.size, self.nothing = "w", 3, None
        self.last_output = self.scale * 2.0  # computed, so no parameter
        self.me = self


def test_every_kind_of_container() -> None:
    module = Everything()
    assert list(module.named_parameters()) == ["scale", "heads.key.0", "heads.7.0", "heads.7.1.w.0", "heads.7.1.b"]


def test_shared_parameters_stand_once() -> None:
    shared = Layer(2, 2)
    model = Module()
    model.first, model.second = shared, shared
    assert len(model.parameters()) == 6
    assert all(name.startswith("first.") for name in model.named_parameters())


def test_an_activation_may_have_parameters() -> None:
    class Slope(Module):
        def __init__(self) -> None:
            self.slope = Value(0.25)

        def __call__(self, x: Value) -> Value:
            return self.slope * x

    model = MLP(1, [3, 1], activation=Slope())
    assert len(model.parameters()) == 3 * 2 + 4 + 1
    model([2.0]).backward()
    assert any(name.endswith("slope") for name in model.named_parameters())


def test_zero_grad() -> None:
    model = MLP(2, [3, 1])
    model([1.0, -1.0]).backward()
    assert any(p.grad for p in model.parameters())
    model.zero_grad()
    assert not any(p.grad for p in model.parameters())


def test_a_subclass_in_micrograds_style() -> None:
    class Twice(Module):
        def __init__(self) -> None:
            self.inner = Neuron(2)
            self.unused = Value(1.0)

        def parameters(self) -> list[Value]:
            return self.inner.parameters()

    module = Twice()
    for p in (*module.inner.parameters(), module.unused):
        p.grad = 5.0
    module.zero_grad()
    assert module.unused.grad == 5.0
    assert [p.grad for p in module.parameters()] == [0.0, 0.0, 0.0]


def test_deep_nesting_needs_no_recursion() -> None:
    module = Module()
    module.inner = Value(1.0)
    for _ in range(20_000):
        outer = Module()
        outer.inner = module
        module = outer
    assert len(module.parameters()) == 1
    while hasattr(module, "inner"):  # taken apart from outside: Python frees nested objects recursively
        module = module.inner


def test_a_module_without_parameters() -> None:
    assert nn.Module().parameters() == []
    assert nn.Module().named_parameters() == {}
