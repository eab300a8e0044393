"""one: predict for one sample with the moons net, 2-16-16-1, from Python with a row of a NumPy array, float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data, moons_peers, native, ours
from benchmarks import moons_net as moons
from benchmarks.harness import Job, Prepared

ROW = np.array([[0.3, -0.7]])

JOB = Job(
    "one",
    what="the score of one sample by an MLP 2-16-16-1, from Python, float64 (onnxruntime: float32)",
    unit="prediction",
    cases=("predict",),
    tolerance=1e-12,
)


@JOB.reference
def reference(case: str) -> np.ndarray:
    (W1, b1), (W2, b2), (W3, b3) = data.split(moons.START, moons.SIZES)
    return np.asarray(np.maximum(np.maximum(ROW @ W1 + b1, 0.0) @ W2 + b2, 0.0) @ W3 + b3)[0]


@JOB.contender("c", note="through ctypes with pointers made once")
def c(case: str) -> Prepared:
    import ctypes

    call = native.library("moons", BATCH=moons.BATCH).predict
    call.restype = ctypes.c_double
    args = (native.pointer(moons.START), native.pointer(ROW))
    return Prepared(lambda: call(*args), lambda: [call(*args)])


def macrograd_function() -> Any:
    import macrograd as mg

    layers = ours.values(data.split(moons.START, moons.SIZES))
    return mg.compile(lambda x: ours.net(layers, x)[0], batch=True)


@JOB.contender("macrograd", packages=("macrograd",), note="trainer.predict_one(row)")
def macrograd(case: str) -> Prepared:
    from macrograd import Trainer

    model = ours.mlp(data.split(moons.START, moons.SIZES))
    trainer = Trainer(model, "squared_error")
    trainer.fit(moons.X, moons.Y, steps=0, progress=False)
    row = ROW[0].copy()
    return Prepared(lambda: trainer.predict_one(row), lambda: [trainer.predict_one(row)])


@JOB.contender("macrograd-batch", packages=("macrograd",), note="f(rows) with one row")
def macrograd_batch(case: str) -> Prepared:
    f = macrograd_function()
    return Prepared(lambda: f(ROW), lambda: np.ravel(f(ROW)))


@JOB.contender("macrograd-eager", packages=("macrograd",), note="plain Values, no compiler")
def macrograd_eager(case: str) -> Prepared:
    layers = ours.values(data.split(moons.START, moons.SIZES))
    row = ROW[0].tolist()
    return Prepared(lambda: ours.net(layers, row)[0], lambda: [ours.net(layers, row)[0].data], gc=True)


@JOB.contender("numpy", note="three matrix products in NumPy")
def numpy(case: str) -> Prepared:
    (W1, b1), (W2, b2), (W3, b3) = data.split(moons.START, moons.SIZES)

    def run() -> np.ndarray:
        return np.asarray(np.maximum(np.maximum(ROW @ W1 + b1, 0.0) @ W2 + b2, 0.0) @ W3 + b3)

    return Prepared(run, lambda: run()[0])


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

    return Prepared(lambda: np.asarray(predict(pairs, ROW)), lambda: predict(pairs, ROW)[0])


@JOB.contender("torch", packages=("torch",), note="eager, inference_mode")
def torch_eager(case: str) -> Prepared:
    torch, net, _ = moons_peers.torch_parts()

    def predict() -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(net(torch.from_numpy(ROW)).numpy())

    return Prepared(predict, lambda: predict()[0])


@JOB.contender("sklearn", packages=("sklearn.neural_network",), note="MLPRegressor.predict with the same weights")
def sklearn(case: str) -> Prepared:
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(hidden_layer_sizes=(16, 16), max_iter=1).fit(moons.X, moons.Y)
    pairs = data.split(moons.START, moons.SIZES)
    model.coefs_, model.intercepts_ = [W.copy() for W, _ in pairs], [b.copy() for _, b in pairs]
    return Prepared(lambda: model.predict(ROW), lambda: model.predict(ROW))


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
    row = ROW.astype(np.float32)
    return Prepared(lambda: session.run(None, {"x": row}), lambda: session.run(None, {"x": row})[0][0])
