"""Models and the judgement of them: pure Python, no Dagster, no MLflow, no SQL."""
