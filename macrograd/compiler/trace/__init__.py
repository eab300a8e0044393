"""From a Python function to the tape of what it did."""
