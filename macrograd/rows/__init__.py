"""What a row of the table of operations is made of: its columns, how it computes on floats and on arrays, how it is
composed of others, and its spelling in C and ONNX. The rows themselves are in `macrograd/ops.py` and `special.py`."""
