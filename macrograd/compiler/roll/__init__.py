"""From tape to program: find the arrays among the scalars."""
