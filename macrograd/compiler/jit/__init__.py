"""From LLVM text to functions that can be called: it knows no programs."""
