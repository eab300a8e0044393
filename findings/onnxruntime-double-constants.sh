#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on the CPU, float64: its optimiser, which is on by default, leaves out additions of 0 and products with
# 1, and takes for 0 and 1 every constant of one element that float32 rounds to them. So a float64 model computes with
# 1 instead of 1.000000001, and log(x + 1e-60) is -inf at 0.
#
#     3 * 1.000000001     3.0      without optimisation 3.0000000030000002
#     3 / 1.000000001     3.0                           2.9999999969999998
#     0 + 1e-60           0.0                           1e-60
#     0 - 1e-60           0.0                           -1e-60
#
# The sum by the operator Sum is right; so are all four where the constant has more than one element. Exits 1 if that has
# changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper

levels = onnxruntime.GraphOptimizationLevel


def computed(op, number, constant, level=levels.ORT_ENABLE_ALL, count=1):
    """-op(|x|, constant): the operator stands between two others."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, [2]) for name in "xy")
    stored = helper.make_tensor("c", TensorProto.DOUBLE, [count], [constant] * count)
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]), helper.make_node(op, ["a", "c"], ["b"]), helper.make_node("Neg", ["b"], ["y"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [stored]), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return -float(session.run(None, {"x": np.array([number, number])})[0][0])


same = True
for op, number, constant, right in (
    ("Mul", 3.0, 1.000000001, 3.0 * 1.000000001), ("Div", 3.0, 1.000000001, 3.0 / 1.000000001),
    ("Add", 0.0, 1e-60, 1e-60), ("Sub", 0.0, 1e-60, -1e-60),
):
    by_default, plain = computed(op, number, constant), computed(op, number, constant, levels.ORT_DISABLE_ALL)
    print(op, number, constant, by_default, "without optimisation", plain)
    same &= by_default == number and plain == right and computed(op, number, constant, count=2) == right
sys.exit(0 if same and computed("Sum", 0.0, 1e-60) == 1e-60 else 1)
PYTHON
