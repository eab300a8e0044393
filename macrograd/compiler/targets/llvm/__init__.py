"""Programs as native code by way of LLVM."""
