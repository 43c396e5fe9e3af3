"""Trainings that clients start: runs of Dagster, asked for through its API and followed."""
