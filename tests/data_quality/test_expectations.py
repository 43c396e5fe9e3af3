import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from data_quality.expectations import (
    ExpectationBrokenError,
    TrainingSetIncompleteError,
    run_suite,
    validate_training_set,
)
from data_quality.report import Failure, ValidationReport
from data_quality.training_set import write_training_set
from data_quality.training_set_suite import Statement, people_statements

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


def test_a_sound_training_set_passes_every_expectation(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = make_interactions(6)
    write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of)
    report = validate_training_set(tmp_path / "set")
    assert report.success
    assert report.failures == ()
    assert report.evaluated == 51
    assert report.statistics["rows"] == 6
    assert report.to_markdown() == "All 51 expectations hold."


def changed(position: int, value: Any, values: list[Any]) -> list[Any]:
    return [value if i == position else old for i, old in enumerate(values)]


# column, row, value, the failures (each with what was observed) that must be reported, and no other
CASES: list[tuple[str, int, Any, dict[tuple[str, str], str]]] = [
    ("user_id", 2, None, {("nothing_is_missing", "user_id"): "1 of 6 rows"}),
    ("video_id", 2, "", {("no_id_is_empty", "video_id"): "1 of 6 rows"}),
    (
        "rating",
        0,
        5.5,
        {
            ("rating_is_on_the_scale", "rating"): "1 of 6 rows",
            ("rating_is_five_times_the_capped_ratio", "rating_error"): "1 of 6 rows",
        },
    ),
    ("rating", 0, 3.0, {("rating_is_five_times_the_capped_ratio", "rating_error"): "1 of 6 rows"}),
    (
        "weight",
        1,
        -0.5,
        {
            ("weight_is_not_negative", "weight"): "1 of 6 rows",
            ("weight_is_ratio_plus_interactions", "interactions_error"): "1 of 6 rows",
        },
    ),
    ("weight", 0, 1.0, {("weight_is_ratio_plus_interactions", "interactions_error"): "1 of 6 rows"}),
    # one interaction, yet not a positive
    ("weight", 1, 1.25, {("positives_are_the_completed_or_interacted", "positive_disagrees"): "1 of 6 rows"}),
    (
        "is_positive",
        0,
        False,
        {("positives_are_the_completed_or_interacted", "positive_disagrees"): "1 of 6 rows"},
    ),
    ("total_watch_time_ms", 0, 15_001, {("ratio_is_watch_time_by_duration", "ratio_error"): "1 of 6 rows"}),
]


@pytest.mark.parametrize(("column", "row", "value", "expected"), CASES)
def test_one_wrong_value_is_named_and_nothing_else_is(
    make_interactions: MakeInteractions,
    column: str,
    row: int,
    value: Any,
    expected: dict[tuple[str, str], str],
) -> None:
    values = make_interactions(6)[column].to_pylist()
    report = validate(make_interactions(6, **{column: changed(row, value, values)}))
    assert failed(report) == expected
    assert not report.success
    assert all(f.severity == "error" for f in report.failures)


def test_the_report_shows_the_values_that_were_not_expected(make_interactions: MakeInteractions) -> None:
    report = validate(make_interactions(6, rating=[3.75, 1.25, 3.75, 1.25, 3.75, 7.0]))
    scale = next(f for f in report.failures if f.expectation == "rating_is_on_the_scale")
    assert scale == Failure("rating_is_on_the_scale", "rating", "error", "1 of 6 rows", ("7.0",))
    assert "| error | rating_is_on_the_scale | rating | 1 of 6 rows | 7.0 |" in report.to_markdown()


@pytest.mark.parametrize(
    ("offset", "inside"),
    [
        (timedelta(0), False),  # as_of itself is outside
        (timedelta(milliseconds=-1), True),
    ],
)
def test_the_last_moment_of_the_window_is_before_as_of(
    make_interactions: MakeInteractions, as_of: datetime, offset: timedelta, inside: bool
) -> None:
    times = [*make_interactions(6)["started_at"].to_pylist()[:5], as_of + offset]
    ends = [*make_interactions(6)["ended_at"].to_pylist()[:5], as_of + offset + timedelta(milliseconds=1)]
    shortest = {"total_watch_time_ms": [15_000, 5_000, 15_000, 5_000, 15_000, 1]}  # a quarter of 4 ms
    durations = [20_000] * 5 + [4]
    report = validate(
        make_interactions(6, started_at=times, ended_at=ends, video_duration_ms=durations, **shortest)
    )
    late = {
        ("sessions_start_inside_the_window", "started_at"): "1 of 6 rows",
        ("sessions_end_inside_the_window", "ended_at"): "1 of 6 rows",
    }
    assert failed(report) == ({} if inside else late)


def test_the_first_moment_of_the_window_is_in_it(
    make_interactions: MakeInteractions, as_of: datetime
) -> None:
    later = make_interactions(6)["started_at"].to_pylist()[1:]
    start = as_of - timedelta(days=90)
    assert validate(make_interactions(6, started_at=[start, *later])).success
    early = validate(make_interactions(6, started_at=[start - timedelta(milliseconds=1), *later]))
    assert failed(early) == {("sessions_start_inside_the_window", "started_at"): "1 of 6 rows"}


def test_rows_out_of_order_are_found(make_interactions: MakeInteractions) -> None:
    report = validate(make_interactions(6).take([0, 1, 2, 4, 3, 5]))
    assert failed(report) == {("rows_are_in_order_of_time", "started_at"): "1 of 6 rows"}


def test_a_session_may_hold_several_videos_but_each_once(make_interactions: MakeInteractions) -> None:
    same = {"session_id": ["s"] * 4, "user_id": ["u"] * 4}
    assert validate(make_interactions(4, **same)).success
    twice = validate(make_interactions(4, **same, video_id=["a", "b", "a", "c"]))
    name = ("one_row_per_session_and_video", "session_id, user_id, video_id")
    assert failed(twice) == {name: "2 of 4 rows"}


def test_a_ratio_at_the_filter_is_refused(make_interactions: MakeInteractions) -> None:
    rows = make_interactions(
        2,
        total_watch_time_ms=[2_000, 16_000],
        watch_time_ratio=[0.1, 0.8],
        rating=[0.5, 4.0],
        weight=[0.1, 0.8],
        is_positive=[False, True],
    )
    assert failed(validate(rows)) == {("ratio_is_above_the_filter", "watch_time_ratio"): "1 of 2 rows"}


def test_a_ratio_that_is_not_a_number_is_missing(make_interactions: MakeInteractions) -> None:
    ratios = changed(1, math.nan, make_interactions(6)["watch_time_ratio"].to_pylist())
    report = validate(make_interactions(6, watch_time_ratio=ratios))
    assert ("nothing_is_missing", "watch_time_ratio") in failed(report)


def test_too_few_rows_and_none_are_refused(make_interactions: MakeInteractions) -> None:
    assert failed(validate(make_interactions(6), floor=7)) == {("there_are_enough_rows", ""): "6"}
    assert ("there_are_enough_rows", "") in failed(validate(make_interactions(0)))


def test_positives_must_be_neither_rare_nor_all(make_interactions: MakeInteractions) -> None:
    report = validate(make_interactions(6), positives_share=(0.6, 0.9))
    assert failed(report) == {("positives_are_neither_rare_nor_all", "positive_share"): "0.5"}


def test_a_video_the_catalogue_lacks_is_a_warning_that_blocks_nothing(
    make_interactions: MakeInteractions,
) -> None:
    report = validate(make_interactions(6), video_ids=pa.array(["v0", "v1", "v2"]))
    assert report.success
    assert report.errors == ()
    assert report.warnings == (
        Failure("videos_are_in_the_catalogue", "unknown_video", "warning", "1 of 6 rows", ("v3",)),
    )


def test_failures_come_errors_first_then_by_name(make_interactions: MakeInteractions) -> None:
    report = validate(make_interactions(6, weight=[-1.0] * 6, rating=[9.0] * 6), video_ids=pa.array(["v0"]))
    assert [(f.severity, f.expectation) for f in report.failures] == [
        ("error", "rating_is_five_times_the_capped_ratio"),
        ("error", "rating_is_on_the_scale"),
        ("error", "weight_is_not_negative"),
        ("error", "weight_is_ratio_plus_interactions"),
        ("warning", "videos_are_in_the_catalogue"),
    ]


def test_a_missing_column_and_a_wrong_type_are_named(make_interactions: MakeInteractions) -> None:
    rows = make_interactions(6).drop_columns(["weight"])
    seconds = rows["started_at"].cast(pa.timestamp("s", tz="UTC"))
    rows = rows.set_column(rows.schema.get_field_index("started_at"), "started_at", seconds)
    report = validate(rows)
    assert not report.success
    assert failed(report) == {
        ("columns_are_all_there", "weight"): "missing",
        ("columns_have_their_types", "started_at"): "timestamp[s, tz=UTC] instead of timestamp[ms, tz=UTC]",
    }


@pytest.mark.parametrize(
    "name", ["interactions.parquet", "videos.parquet", "watched.parquet", "users.parquet", "meta.json"]
)
def test_a_folder_without_one_of_its_files_is_refused(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
    name: str,
) -> None:
    rows = make_interactions(6)
    write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of)
    (tmp_path / "set" / name).unlink()
    with pytest.raises(TrainingSetIncompleteError, match=f"has no {name}"):
        validate_training_set(tmp_path / "set")


def test_a_table_needs_its_window(make_interactions: MakeInteractions) -> None:
    with pytest.raises(TypeError, match="needs its meta"):
        validate_training_set(make_interactions(6))
    with pytest.raises(TrainingSetIncompleteError, match=r"meta.json lacks 'as_of'"):
        validate_training_set(make_interactions(6), {"window_start": META["window_start"]})


def test_an_expectation_that_cannot_be_evaluated_is_not_taken_for_a_finding() -> None:
    suite = [Statement("a_column_is_there", "gone", "ExpectColumnValuesToNotBeNull", {"column": "gone"})]
    with pytest.raises(ExpectationBrokenError, match="a_column_is_there"):
        run_suite(pd.DataFrame({"here": [1]}), suite)


def test_profiles_that_cannot_be_are_found() -> None:
    people = pa.table(
        {
            "user_id": ["u1", "u1"],
            "age": pa.array([None, 200], pa.int16()),
            "gender": ["unknown", "f"],
            "language": ["", ""],
            "region": ["", None],
            "device_type": ["ios", "android"],
        }
    )
    found = run_suite(people.to_pandas(), people_statements()).failures
    assert {(f.expectation, f.column, f.severity) for f in found} == {
        ("one_row_per_user", "user_id", "error"),
        ("ages_are_of_people", "age", "warning"),
        ("gender_is_known_or_said_to_be_unknown", "gender", "error"),
        ("nothing_is_missing", "region", "error"),
    }
