"""one: predictions with the moons net, 2-16-16-1, from Python with a NumPy array, float64.

`predict` has one row, where the call is all, and `rows` a thousand of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data, moons_peers, native, ours
from benchmarks import moons_net as moons
from benchmarks.harness import Job, Prepared

ROWS = {"predict": np.array([[0.3, -0.7]]), "rows": np.random.default_rng(0).normal(size=(1000, 2))}
ROW = ROWS["predict"]

JOB = Job(
    "one",
    what="scores by an MLP 2-16-16-1, from Python, float64 (onnxruntime: float32), of one sample or of a thousand",
    unit="prediction",
    cases=tuple(ROWS),
    tolerance=1e-12,
    quick=("predict",),
    beaten={
        "predict": "C is called through ctypes, which prepares every call; macrograd's native code is a built-in "
        "function of Python's, and costs a third of such a call."
    },
)


@JOB.reference
def reference(case: str) -> np.ndarray:
    (W1, b1), (W2, b2), (W3, b3) = data.split(moons.START, moons.SIZES)
    return np.asarray(np.maximum(np.maximum(ROWS[case] @ W1 + b1, 0.0) @ W2 + b2, 0.0) @ W3 + b3).ravel()


@JOB.contender("c", note="through ctypes with pointers made once")
def c(case: str) -> Prepared:
    import ctypes

    lib = native.library("moons", BATCH=moons.BATCH)
    if case == "rows":
        rows, out = ROWS[case].copy(), np.empty(len(ROWS[case]))
        given = (*(native.pointer(a) for a in (moons.START, rows)), len(rows), native.pointer(out))

        def answer() -> np.ndarray:
            lib.predict_all(*given)
            return out

        return Prepared(lambda: lib.predict_all(*given), answer, units=len(rows))
    call = lib.predict
    call.restype = ctypes.c_double
    args = (native.pointer(moons.START), native.pointer(ROW))
    return Prepared(lambda: call(*args), lambda: [call(*args)])


def macrograd_function() -> Any:
    import macrograd as mg

    layers = ours.values(data.split(moons.START, moons.SIZES))
    return mg.compile(lambda x: ours.net(layers, x)[0], batch=True)


@JOB.contender("macrograd", packages=("macrograd",), note="trainer.predict_one(row), or trainer.predict(rows)")
def macrograd(case: str) -> Prepared:
    from macrograd import Trainer

    model = ours.mlp(data.split(moons.START, moons.SIZES))
    trainer = Trainer(model, "squared_error")
    trainer.fit(moons.X, moons.Y, steps=0, progress=False)
    if case == "rows":
        rows = ROWS[case].copy()
        return Prepared(lambda: trainer.predict(rows), lambda: np.ravel(trainer.predict(rows)), units=len(rows))
    row = ROW[0].copy()
    return Prepared(lambda: trainer.predict_one(row), lambda: [trainer.predict_one(row)])


@JOB.contender("macrograd-batch", packages=("macrograd",), note="f(rows) of a compiled function")
def macrograd_batch(case: str) -> Prepared:
    f, rows = macrograd_function(), ROWS[case]
    return Prepared(lambda: f(rows), lambda: np.ravel(f(rows)), units=len(rows))


@JOB.contender("macrograd-eager", packages=("macrograd",), cases=("predict",), note="plain Values, no compiler")
def macrograd_eager(case: str) -> Prepared:
    layers = ours.values(data.split(moons.START, moons.SIZES))
    row = ROW[0].tolist()
    return Prepared(lambda: ours.net(layers, row)[0], lambda: [ours.net(layers, row)[0].data], gc=True)


@JOB.contender("numpy", note="three matrix products in NumPy")
def numpy(case: str) -> Prepared:
    (W1, b1), (W2, b2), (W3, b3) = data.split(moons.START, moons.SIZES)

    rows = ROWS[case]

    def run() -> np.ndarray:
        return np.asarray(np.maximum(np.maximum(rows @ W1 + b1, 0.0) @ W2 + b2, 0.0) @ W3 + b3)

    return Prepared(run, lambda: run().ravel(), units=len(rows))


@JOB.contender("jax-jit", packages=("jax",))
def jax_jit(case: str) -> Prepared:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    pairs = [(jnp.asarray(W), jnp.asarray(b)) for W, b in data.split(moons.START, moons.SIZES)]

    @jax.jit
    def predict(pairs: Any, x: Any) -> Any:
        for W, b in pairs[:-1]:
            x = jax.nn.relu(x @ W + b)
        return x @ pairs[-1][0] + pairs[-1][1]

    rows = ROWS[case]
    return Prepared(lambda: np.asarray(predict(pairs, rows)), lambda: np.ravel(predict(pairs, rows)), units=len(rows))


def torch_contender(case: str, compiled: bool) -> Prepared:
    torch, net, _ = moons_peers.torch_parts()
    call, rows = torch.compile(net) if compiled else net, ROWS[case]

    def predict() -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(call(torch.from_numpy(rows)).numpy())

    return Prepared(predict, lambda: predict().ravel(), units=len(rows))


@JOB.contender("torch", packages=("torch",), note="eager, inference_mode")
def torch_eager(case: str) -> Prepared:
    return torch_contender(case, compiled=False)


@JOB.contender("torch-compile", packages=("torch",), note="torch.compile, inference_mode")
def torch_compile(case: str) -> Prepared:
    return torch_contender(case, compiled=True)


@JOB.contender("sklearn", packages=("sklearn.neural_network",), note="MLPRegressor.predict with the same weights")
def sklearn(case: str) -> Prepared:
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(hidden_layer_sizes=(16, 16), max_iter=1).fit(moons.X, moons.Y)
    pairs = data.split(moons.START, moons.SIZES)
    model.coefs_, model.intercepts_ = [W.copy() for W, _ in pairs], [b.copy() for _, b in pairs]
    rows = ROWS[case]
    return Prepared(lambda: model.predict(rows), lambda: model.predict(rows), units=len(rows))


@JOB.contender("onnxruntime", packages=("onnxruntime", "onnx"), tolerance=1e-5, note="float32, as its models are")
def onnxruntime(case: str) -> Prepared:
    import onnxruntime as rt
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, x = [], [], "x"
    for k, (W, b) in enumerate(data.split(moons.START, moons.SIZES)):
        weights += [numpy_helper.from_array(a.astype(np.float32), f"{n}{k}") for n, a in (("W", W), ("b", b))]
        nodes.append(helper.make_node("Gemm", [x, f"W{k}", f"b{k}"], [f"z{k}"]))
        x = f"z{k}"
        if k < 2:
            nodes.append(helper.make_node("Relu", [x], [f"h{k}"]))
            x = f"h{k}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [None, 2]), (x, [None, 1]))]
    graph = helper.make_graph(nodes, "moons", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = rt.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = rt.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = ROWS[case].astype(np.float32)
    return Prepared(
        lambda: session.run(None, {"x": rows}), lambda: session.run(None, {"x": rows})[0].ravel(), units=len(rows)
    )
