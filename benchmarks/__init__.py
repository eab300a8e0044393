"""Every job beside its peers, in one run on the machine at hand: `python -m benchmarks`. See README.md here."""
