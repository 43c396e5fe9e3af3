"""The asset graph: the only package that imports Dagster."""
