"""Many nets trained at once: what they share of the data, which of them share lanes, and their run."""
