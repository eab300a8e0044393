#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on the CPU, Where: a -0.0 that is taken from the first of the two arrays becomes 0.0, one that is
# taken from the second stays -0.0. The specification says that an element of the result is one of the two. In float64
# and float32 alike:
#
#     Where([True, False, True], [-0.0, 1, -0.0], [1, -0.0, -0.0])     [0, -0, 0]
#
# One divided by the result is an infinity of the other sign. Exits 1 if that has changed.
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

seen = True
for kind, dtype in ((TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT, np.float32)):
    values = [helper.make_tensor_value_info(name, kind, [3]) for name in "abc"]
    chosen = helper.make_tensor_value_info("which", TensorProto.BOOL, [3])
    node = helper.make_node("Where", ["which", "a", "b"], ["c"])
    graph = helper.make_graph([node], "g", [chosen, *values[:2]], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    which, a, b = np.array([True, False, True]), np.array([-0.0, 1, -0.0], dtype), np.array([1, -0.0, -0.0], dtype)
    found = session.run(None, {"which": which, "a": a, "b": b})[0]
    print(dtype.__name__, found, "NumPy:", np.where(which, a, b))
    seen &= (found == 0).all() and np.signbit(found).tolist() == [False, True, False]
sys.exit(0 if seen else 1)
PYTHON
