"""One file a stage of the graph; Dagster loads every module here."""
