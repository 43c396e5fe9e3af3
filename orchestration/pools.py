"""What runs must not do at the same time: a run waits for every pool its assets name (see `stack/dagster_home.py`).

Serving names no pool: a promotion or a rollback must not wait for a training to end. A bundle is published
atomically, and the promotion sensor repairs what a lost race left behind.
"""

WAREHOUSE = "warehouse"  # writes the tables of ClickHouse and Postgres
MODELS = "models"  # writes the training set, the models and their versions
