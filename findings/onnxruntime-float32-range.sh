#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on the CPU, float32: Tanh leaves [-1, 1], and Sigmoid is exactly 0 below -18, where it is 1e-8 and
# float32 reaches down to 1e-45. So 1 - tanh(x)**2 is negative, and log(sigmoid(-20)) is -inf instead of -20.
#
#     Tanh     largest of -20 … 20        1.0000001
#     Sigmoid  of [-17.9, -18.1, -20]     [2.98e-08, 0, 0]     exact: [1.68e-08, 1.38e-08, 2.06e-09]
#
# In float64 both are right to the last digits. Exits 1 if that has changed.
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


def computed(op, numbers):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.asarray(numbers, np.float32)})[0]


tanh = computed("Tanh", np.linspace(-20, 20, 100001))
sigmoid = computed("Sigmoid", [-17.9, -18.1, -20])
print("Tanh from", repr(tanh.min()), "to", repr(tanh.max()))
print("Sigmoid", sigmoid, "exact:", 1 / (1 + np.exp([17.9, 18.1, 20])))
sys.exit(0 if tanh.max() > 1 and tanh.min() < -1 and sigmoid[0] > 0 and (sigmoid[1:] == 0).all() else 1)
PYTHON
