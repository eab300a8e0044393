"""GradBench's evals, written for macrograd: one file for each, and the tool that answers its messages."""
