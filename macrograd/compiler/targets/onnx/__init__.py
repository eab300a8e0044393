"""ONNX as a target: programs as graphs of tensor operations."""
