"""From program to loops of scalar or vector code, for every target that writes code. Begin with `emit.py`; a matrix
product becomes code in `sums.py`."""
