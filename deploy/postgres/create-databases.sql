-- Run once, when the volume is empty. `reelgraph` (users, videos) is made by the image; these two are Dagster's and
-- MLflow's own.
CREATE DATABASE dagster;
CREATE DATABASE mlflow;
