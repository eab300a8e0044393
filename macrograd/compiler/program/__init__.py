"""The array intermediate representation, and its cache on disk."""
