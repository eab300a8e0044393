"""The array intermediate representation, and how it is kept on disk."""
