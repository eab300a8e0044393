"""The ONNX target: programs as graphs of tensor operations."""
