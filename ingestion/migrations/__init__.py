"""Alembic migrations of the Postgres database that holds `users` and `videos`."""
