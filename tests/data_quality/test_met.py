"""The pairs met (`watched.parquet`) and the ends of sessions, as the validation judges them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from data_quality.expectations import validate_training_set
from data_quality.report import ValidationReport

MakeInteractions = Callable[..., pa.Table]
MakeMet = Callable[[pa.Table], pa.Table]
META = {
    "as_of": "2022-05-08T12:00:00.000Z",
    "window_start": "2022-02-07T12:00:00.000Z",
    "min_watch_time_ratio": 0.1,
}


def validate(table: pa.Table, **arguments: Any) -> ValidationReport:
    return validate_training_set(table, META, **arguments)


def failed(report: ValidationReport) -> dict[tuple[str, str], str]:
    return {(f.expectation, f.column): f.observed for f in report.failures}


def test_a_session_that_ends_after_as_of_or_before_its_play_does_is_refused(
    make_interactions: MakeInteractions, as_of: datetime
) -> None:
    ends = make_interactions(6)["ended_at"].to_pylist()
    a_ms = timedelta(milliseconds=1)
    assert validate(make_interactions(6, ended_at=[*ends[:5], as_of])).success
    late = validate(make_interactions(6, ended_at=[*ends[:5], as_of + a_ms]))
    assert failed(late) == {("sessions_end_inside_the_window", "ended_at"): "1 of 6 rows"}
    early = validate(make_interactions(6, ended_at=[ends[0] - a_ms, *ends[1:]]))
    assert failed(early) == {("sessions_end_after_the_play", "time_after_the_play_ms"): "1 of 6 rows"}


def test_pairs_met_are_whole_unique_and_of_the_past(
    make_interactions: MakeInteractions, make_met: MakeMet, as_of: datetime
) -> None:
    rows = make_interactions(6)
    met = make_met(rows)
    assert validate(rows, met=met).success
    spoiled = pa.Table.from_pylist(
        [
            *met.to_pylist(),
            met.to_pylist()[0],
            {"user_id": None, "video_id": "v", "first_met_at": as_of},
        ],
        schema=met.schema,
    )
    assert failed(validate(rows, met=spoiled)) == {
        ("nothing_is_missing", "user_id"): "1 of 8 rows",
        ("nothing_was_met_in_the_future", "first_met_at"): "1 of 8 rows",
        ("one_row_per_user_and_video", "user_id, video_id"): "2 of 8 rows",
    }
    wrong = met.drop_columns(["first_met_at"])
    assert failed(validate(rows, met=wrong)) == {("columns_are_all_there", "first_met_at"): "missing"}


@pytest.mark.parametrize("change", ["never met", "met later"])
def test_a_row_whose_pair_was_not_met_by_then_is_refused(
    make_interactions: MakeInteractions, make_met: MakeMet, change: str
) -> None:
    rows = make_interactions(6)
    pairs = make_met(rows).to_pylist()
    if change == "never met":
        pairs = pairs[1:]
    else:
        pairs[0]["first_met_at"] += timedelta(milliseconds=1)
    report = validate(rows, met=pa.Table.from_pylist(pairs, schema=make_met(rows).schema))
    assert failed(report) == {("what_was_played_was_met", "met_by_then"): "1 of 6 rows"}
