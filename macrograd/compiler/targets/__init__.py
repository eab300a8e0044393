"""The targets that a program is lowered to, one folder each; `scalar` is the emitter shared by those that write
code."""
