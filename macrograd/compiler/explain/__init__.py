"""A program in words."""
