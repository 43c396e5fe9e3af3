"""Alembic's entry: runs on the connection that `ingestion.postgres_schema` opened and locked."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
