"""Programs as calls of NumPy: the reference, and the fallback where llvmlite has no wheel."""
