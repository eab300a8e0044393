"""Random training runs against plainly written ones."""
