"""From LLVM text to callable functions; knows nothing about programs."""
