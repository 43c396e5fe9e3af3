"""Figures of the models against peers and targets: `python -m ml.bench`, that is `make bench-models`."""
