#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on the CPU, float64: whether a model with LeakyRelu, Elu, Selu, Softplus, Softsign or HardSigmoid
# loads depends on the opset that it declares, and not in one direction. Opset 18 loads and computes; 13 and 19 to 23 end
# with "NOT_IMPLEMENTED: Could not find an implementation", though from 18 to 21 the six operators are the same: they
# last changed with opset 1, 6 or 16, and then 22. Exits 1 if that has changed.
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


def loads(op, opset):
    x, y = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        assert "NOT_IMPLEMENTED" in str(error), error
        return False
    session.run(None, {"x": np.array([-1.0, 1.0])})
    return True


seen = True
for op in ("LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid"):
    found = {opset: loads(op, opset) for opset in (13, 18, 19, 20, 21, 22, 23)}
    print(op, found)
    seen &= [opset for opset, good in found.items() if good] == [18]
sys.exit(0 if seen else 1)
PYTHON
