"""Passes from tape to tape: simplify and differentiate."""
