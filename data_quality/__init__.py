"""Contracts, expectations and drift: what the data must be, and whether it still is."""
