"""Every job beside its peers, in one run on this machine: `python -m benchmarks`. See README.md here."""
