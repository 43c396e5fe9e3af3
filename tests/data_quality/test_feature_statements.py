"""Each statement about the features of a training set fails for what it forbids, and only then."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_quality.expectations import validate_training_set
from data_quality.report import ValidationReport
from data_quality.training_set import write_training_set

Make = Callable[..., pa.Table]
META = {
    "as_of": "2022-05-08T12:00:00.000Z",
    "window_start": "2022-02-07T12:00:00.000Z",
    "min_watch_time_ratio": 0.1,
    "features": {"version": 1},
}


def failed(report: ValidationReport) -> set[tuple[str, str]]:
    return {(f.expectation, f.column) for f in report.failures}


def test_a_sound_set_with_features_passes(
    tmp_path: Path,
    make_interactions: Make,
    with_features: Make,
    make_met: Make,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = with_features(make_interactions(6))
    write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of)
    report = validate_training_set(tmp_path / "set")
    assert failed(report) == set()
    assert report.evaluated == 51 + 32


def test_a_set_that_says_it_has_features_must_have_all_of_them(
    make_interactions: Make, with_features: Make
) -> None:
    assert not validate_training_set(make_interactions(6), META).success
    report = validate_training_set(with_features(make_interactions(6)).drop_columns(["user_finished"]), META)
    assert failed(report) == {("columns_are_all_there", "user_finished")}


CASES: list[tuple[dict[str, Any], set[tuple[str, str]]]] = [
    ({"user_sessions": None}, {("nothing_is_missing", "user_sessions")}),
    ({"video_age_hours": -1}, {("no_feature_is_negative", "video_age_hours")}),
    ({"video_age_hours": None, "user_account_age_days": None}, set()),
    ({"video_sessions": 3}, {("means_are_null_just_without_a_session", "video_mean_disagrees")}),
    ({"user_avg_completion_ratio": 0.5}, {("means_are_null_just_without_a_session", "user_mean_disagrees")}),
    ({"video_plays_7d": 5, "video_plays_cumulative": 5}, set()),
    (
        {"video_plays_7d": 6, "video_plays_cumulative": 5},
        {("plays_of_the_week_are_among_all_plays", "plays_before_all_plays")},
    ),
]


@pytest.mark.parametrize(("change", "expected"), CASES)
def test_one_wrong_feature_is_named_and_nothing_else_is(
    make_interactions: Make, with_features: Make, change: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    rows = make_interactions(6)
    sound = with_features(rows)
    columns = {name: [value, *sound[name].to_pylist()[1:]] for name, value in change.items()}
    assert failed(validate_training_set(with_features(rows, **columns), META)) == expected


@pytest.mark.parametrize(
    ("met_before", "fails"), [(timedelta(minutes=59), True), (timedelta(minutes=61), False)]
)
def test_who_had_met_nothing_when_the_hour_began_has_no_sessions(
    make_interactions: Make,
    with_features: Make,
    make_met: Make,
    as_of: datetime,
    met_before: timedelta,
    fails: bool,
) -> None:
    rows = make_interactions(6)  # of the hour before `as_of`
    first = pa.table(
        {"user_id": ["u0"], "video_id": ["earlier"], "first_met_at": [as_of - met_before]},
        make_met(rows).schema,
    )
    met = pa.concat_tables([make_met(rows), first])
    seen = with_features(rows, user_sessions=[1, 0, 0, 0, 0, 0], user_avg_completion_ratio=[0.5, *[None] * 5])
    report = validate_training_set(seen, META, met=met)
    name = ("nothing_was_seen_before_the_first_session", "sessions_before_the_first")
    assert failed(report) == ({name} if fails else set())
