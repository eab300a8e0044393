"""`macrograd.engine`: where micrograd has its `Value`, so that its programs run with only the name changed."""

from macrograd.value import Value

__all__ = ["Value"]
