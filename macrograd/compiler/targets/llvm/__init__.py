"""Programs as native code, through LLVM."""
