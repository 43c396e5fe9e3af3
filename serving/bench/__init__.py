"""Open-loop load on the endpoint as it runs, held against the targets: `python -m serving.bench`."""
