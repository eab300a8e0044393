"""Programs as WebAssembly, by way of LLVM."""
