"""From a Python function to the tape of its operations."""
