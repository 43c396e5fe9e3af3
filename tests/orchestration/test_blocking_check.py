"""A training set that fails its validation trains nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from data_quality.training_set import INTERACTIONS_SCHEMA, MET_SCHEMA, VIDEOS_SCHEMA, write_training_set
from orchestration.defs.models import popularity_model
from orchestration.defs.training_set import training_set_is_valid
from orchestration.io_managers import RecordIOManager
from orchestration.records import TrainingSet
from orchestration.resources import Stores
from stack.settings import Settings
from tests.conftest import settings_at

AS_OF = datetime(2022, 5, 8, tzinfo=UTC)
ROWS = 200


class StoresAt(Stores):
    """The stores of given settings."""

    home: str

    @property
    def settings(self) -> Settings:
        return settings_at(Path(self.home))


def interactions(rating_of_first_row: float) -> pa.Table:
    """200 interactions of 20 people with 20 videos, half of them positive; ratio 0.5 and 1 in turn."""
    rows = []
    for i in range(ROWS):
        ratio = 0.5 if i % 2 else 1.0
        rows.append(
            {
                "session_id": f"s{i:03}",
                "user_id": f"u{i % 20}",
                "video_id": f"v{(i // 2) % 20}",
                "started_at": AS_OF - timedelta(hours=ROWS - i),
                "ended_at": AS_OF - timedelta(hours=ROWS - i) + timedelta(seconds=ratio * 10),
                "total_watch_time_ms": int(ratio * 10_000),
                "video_duration_ms": 10_000,
                "watch_time_ratio": ratio,
                "rating": 5 * ratio,
                "weight": ratio,
                "is_positive": ratio >= 0.7,
            }
        )
    rows[0]["rating"] = rating_of_first_row
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


def catalogue() -> pa.Table:
    empty = dict.fromkeys(VIDEOS_SCHEMA.names)
    text = {
        "creator_id": "c",
        "title": "t",
        "description": "",
        "category": "x",
        "language": "en",
        "thumbnail_url": "",
    }
    counts = {"tags": [], "is_trending": False, "view_count": 0, "like_count": 0, "duration_ms": 10_000}
    rows = [{**empty, **text, **counts, "video_id": f"v{i}"} for i in range(20)]
    return pa.Table.from_pylist(rows, schema=VIDEOS_SCHEMA)


def met() -> pa.Table:
    first = [
        {
            "user_id": f"u{i % 20}",
            "video_id": f"v{(i // 2) % 20}",
            "first_met_at": AS_OF - timedelta(hours=ROWS - i),
        }
        for i in range(ROWS)
    ]
    pairs = {(row["user_id"], row["video_id"]): row for row in reversed(first)}
    return pa.Table.from_pylist([pairs[key] for key in sorted(pairs)], schema=MET_SCHEMA)


@pytest.fixture
def materialize(tmp_path: Path) -> Callable[[float], dg.ExecuteInProcessResult]:
    def run(rating_of_first_row: float) -> dg.ExecuteInProcessResult:
        folder = tmp_path / "training_set"

        @dg.asset
        def training_set() -> TrainingSet:
            meta = write_training_set(
                folder, interactions(rating_of_first_row), catalogue(), met=met(), as_of=AS_OF
            )
            return TrainingSet(path=folder, dvc_hash="0.dir", meta=meta)

        resources = {
            "io_manager": RecordIOManager(tmp_path / "records"),
            "stores": StoresAt(home=str(tmp_path)),
        }
        with dg.instance_for_test() as instance:
            return dg.materialize(
                [training_set, training_set_is_valid, popularity_model],
                resources=resources,
                instance=instance,
                raise_on_error=False,
            )

    return run


def steps(result: dg.ExecuteInProcessResult, kind: str) -> set[str]:
    return {event.step_key for event in result.all_events if event.event_type_value == kind}


def test_a_valid_set_is_trained_on(materialize: Callable) -> None:
    result = materialize(5.0)
    assert result.success
    assert "popularity_model" in steps(result, "STEP_SUCCESS")


def test_a_row_whose_rating_is_not_its_formula_stops_the_training(
    materialize: Callable, tmp_path: Path
) -> None:
    result = materialize(1.0)
    [check] = result.get_asset_check_evaluations()
    assert not check.passed
    assert "rating" in str(check.metadata["result"].value)
    assert "popularity_model" not in steps(result, "STEP_START")
    assert not (tmp_path / "models").exists()
