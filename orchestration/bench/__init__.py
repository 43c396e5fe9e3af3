"""Figures of the whole product, measured: each module prints a table and writes `build/bench/NAME.json`."""
