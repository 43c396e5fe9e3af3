"""Keeps each asset's record as a JSON file, so that any asset can be materialized alone from the last results."""

from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from orchestration.records import Record


class RecordNotFound(dg.Failure):
    """An upstream asset has no record yet."""


class RecordIOManager(dg.IOManager):
    """`<folder>/<asset>.json`, replaced atomically; the reader's annotation says which record class it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, key: dg.AssetKey) -> Path:
        return self._folder / f"{key.to_python_identifier()}.json"

    def handle_output(self, context: dg.OutputContext, obj: Record) -> None:
        path = self._path(context.asset_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(obj.model_dump_json(indent=2))
        temporary.replace(path)

    def load_input(self, context: dg.InputContext) -> Record:
        path = self._path(context.asset_key)
        record_class = context.dagster_type.typing_type
        try:
            return record_class.model_validate_json(path.read_text())
        except FileNotFoundError as error:
            name = context.asset_key.to_user_string()
            raise RecordNotFound(f"{name} has not been materialized yet: materialize it first") from error
        except ValidationError as error:
            name = context.asset_key.to_user_string()
            raise RecordNotFound(
                f"the record of {name} is of another version of this code: materialize it again"
            ) from error
