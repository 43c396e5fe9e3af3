"""A training set of given dates: the real model, the real export; what lies outside of them changes nothing."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_quality.training_set import export_training_set
from orchestration.training_window import TrainingWindowConfig, training_variables

from .warehouse import T0, Event, Warehouse

pytestmark = pytest.mark.stack
DAY = 86_400.0
START, END = datetime(2022, 5, 4, tzinfo=UTC), datetime(2022, 5, 9, tzinfo=UTC)


def plays(first_day: int, last_day: int, count: int, seed: int) -> list[Event]:
    """Finished plays, spread over days after `T0`, which is 20 seconds before the midnight of 2 May."""
    rng = random.Random(seed)
    events = []
    for i in range(count):
        at = round(20 + DAY * rng.uniform(first_day, last_day), 3)
        who = {"user": f"u{rng.randrange(5)}", "video": f"v{rng.randrange(5)}"}
        events += [
            Event(f"{seed}-{i}", "view_start", at, **who),
            Event(f"{seed}-{i}", "view_end", at + 30, **who),
        ]
    return events


def exported(warehouse: Warehouse, folder: Path) -> tuple[list[dict], dict]:
    config = TrainingWindowConfig(start_date="2022-05-04", end_date="2022-05-08")
    clock = datetime(2022, 5, 20, tzinfo=UTC)
    warehouse.dbt(
        "run", "-s", "+tag:training", "stg_users", **training_variables(warehouse.settings, config, clock)
    )
    meta = export_training_set(warehouse.client, folder)
    return pq.read_table(folder / "interactions.parquet").to_pylist(), meta


def test_rows_lie_within_the_dates_and_the_future_changes_nothing(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.add(plays(0, 7, 200, seed=1))  # 2 May up to 8 May, END not reached
    before, meta = exported(warehouse, tmp_path / "before")
    assert (meta["as_of"], meta["window_days"], meta["window_start"]) == (
        "2022-05-09T00:00:00.000Z",
        5,
        "2022-05-04T00:00:00.000Z",
    )
    started = [row["started_at"] for row in before]
    assert 0 < len(before) < 200
    assert min(started) >= START
    assert max(row["ended_at"] for row in before) <= END
    expected = sum(1 for e in plays(0, 7, 200, seed=1) if e.type == "view_start" and e.when >= START
                   and (e.when - T0).total_seconds() + 30 <= (END - T0).total_seconds())  # fmt: skip
    assert len(before) == expected
    warehouse.add(plays(7, 12, 200, seed=2))  # from 9 May on: the future of what was asked for
    after, _ = exported(warehouse, tmp_path / "after")
    assert after == before


def test_the_model_obeys_the_start_to_the_millisecond(warehouse: Warehouse) -> None:
    statuses = warehouse.dbt("test", "-s", "training_interactions,test_type:unit")
    assert statuses["training_interactions_begin_where_asked"] == "pass"
