"""Resource classes: how an asset reaches the stores. Instances are in `defs/resources.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg

from stack.clients import clickhouse_client
from stack.settings import Settings, load_settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Stores(dg.ConfigurableResource):
    """The product's settings and a client of each store; connections open only when asked for."""

    @cached_property
    def _settings(self) -> Settings:
        return load_settings()

    @property
    def settings(self) -> Settings:
        return self._settings

    @contextmanager
    def clickhouse(self) -> Iterator["Client"]:
        client = clickhouse_client(self.settings)
        try:
            yield client
        finally:
            client.close()

    def row_count(self, table: str) -> int:
        """Rows of one of our tables, by name bound as an identifier."""
        with self.clickhouse() as client:
            result = client.query("SELECT count() FROM {table:Identifier}", parameters={"table": table})
            return int(result.result_rows[0][0])
