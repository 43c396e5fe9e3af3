"""How a table is checked, whatever its suite: missing columns and values, big tables, the page of the data docs."""

from datetime import timedelta
from pathlib import Path

import pytest

from data_quality.suites import SUITES
from data_quality.table_checks import checked_query
from ingestion.clickhouse_schema import create_tables

from .quality_tables import NOON, ROWS, Tables, counted, failed


@pytest.mark.parametrize("table", SUITES)
def test_a_good_table_passes_and_says_what_was_looked_at(quality_tables: Tables, table: str) -> None:
    quality_tables.fill(table)
    report = quality_tables.validate(table)
    assert report.failures == ()
    assert report.success
    assert report.checked_on == "all 99 rows"
    assert report.statistics == {"rows": 99.0, "sample_rate": 1.0}
    assert report.evaluated == 1 + len(SUITES[table].statements)


@pytest.mark.parametrize("table", SUITES)
def test_what_must_be_there_is_missed_and_what_may_be_absent_is_not(
    quality_tables: Tables, table: str
) -> None:
    # An average belongs to its sessions: without either, nothing is wrong with it.
    nothing: dict[str, object] = {
        name: [] if isinstance(value, list) else None for name, value in ROWS[table].items()
    }
    quality_tables.fill(table, nothing)
    report = quality_tables.validate(table)
    required = {s.column for s in SUITES[table].statements if s.name == "nothing_is_missing"}
    assert counted(report) == {("nothing_is_missing", name): 1 for name in required}
    assert not report.success
    optional = {"playback_position_ms", "duration_ms", "age", "account_age_days", "retention_rate"}
    assert required.isdisjoint(optional)


@pytest.mark.parametrize("table", SUITES)
def test_an_empty_table_is_an_error(quality_tables: Tables, table: str) -> None:
    quality_tables.fill(table, good=0)
    report = quality_tables.validate(table)
    assert ("there_are_rows", "") in {(f.expectation, f.column) for f in report.errors}


def test_a_column_that_is_gone_is_named_and_ends_the_check(quality_tables: Tables) -> None:
    quality_tables.fill("user_features")
    quality_tables.client.command("ALTER TABLE user_features DROP COLUMN gender")
    report = quality_tables.validate("user_features")
    assert failed(report) == {("columns_are_all_there", "gender")}
    assert not report.success


def test_the_real_table_of_events_is_checked_in_its_own_types(quality_tables: Tables) -> None:
    quality_tables.client.command("DROP TABLE IF EXISTS playback_events")
    create_tables(quality_tables.settings)
    row = ROWS["playback_events"]
    bad = {**row, "time_of_day": 24, "event_id": "00000000-0000-0000-0000-000000000002"}
    rows = [list(row.values()), list(bad.values())]
    quality_tables.client.insert("playback_events", rows, list(row))
    assert counted(quality_tables.validate("playback_events")) == {
        ("time_of_day_is_an_hour", "time_of_day"): 1
    }


def test_one_bad_row_of_a_big_table_is_found_and_warnings_come_from_a_sample(quality_tables: Tables) -> None:
    fine = {"geo_location": "48.8566, 2.3522"}
    quality_tables.fill("playback_events", {"time_of_day": 24}, *[fine] * 200, good=1799)
    report = quality_tables.validate("playback_events", whole_rows=1999, sampled_rows=500)
    assert [(f.expectation, f.observed) for f in report.errors] == [
        ("time_of_day_is_an_hour", "1 of 2000 rows")
    ]
    sampled = int(report.statistics["sampled_rows"])
    assert report.statistics == {"rows": 2000.0, "sampled_rows": float(sampled), "sample_rate": 0.25}
    assert 400 < sampled < 600
    assert report.checked_on == (
        f"errors on all 2,000 rows of the last day, warnings on 1 in 4 by hash ({sampled:,} rows)"
    )
    [warning] = report.warnings
    found, of = (int(word) for word in warning.observed.split() if word.isdigit())
    assert (warning.expectation, of) == ("locations_are_coarse", sampled)
    assert 20 < found < 80
    again = quality_tables.validate("playback_events", whole_rows=1999, sampled_rows=500)
    assert again.failures == report.failures


def test_at_the_limit_all_rows_are_looked_at(quality_tables: Tables) -> None:
    quality_tables.fill("playback_events", good=100)
    report = quality_tables.validate("playback_events", whole_rows=100, sampled_rows=10)
    assert report.checked_on == "all 100 rows"


def test_a_derived_column_of_the_tables_own_name_takes_its_place() -> None:
    query = checked_query(SUITES["watch_sessions"])
    assert query.startswith("SELECT * REPLACE (toString(exit_reason) AS exit_reason), dateDiff(")


def test_the_check_adds_a_page_to_the_data_docs(quality_tables: Tables, tmp_path: Path) -> None:
    quality_tables.fill("watch_sessions", {"ended_at": NOON})
    report = quality_tables.validate("watch_sessions", docs=tmp_path)
    assert report.data_docs is not None
    assert report.data_docs.parent == tmp_path / "watch_sessions"
    text = report.data_docs.read_text()
    assert "watch time fits into the session (error; max_value 0)" in text
    assert "nobody watches for a day (warning; max_value 86400000)" in text
    assert "all 100 rows" in text


def test_of_a_big_table_that_grows_the_last_day_is_judged(quality_tables: Tables) -> None:
    long_ago = {"impression_timestamp": NOON - timedelta(days=1, hours=1)}
    quality_tables.fill("playback_events", {**long_ago, "position_index": -1}, long_ago)
    assert not quality_tables.validate("playback_events", whole_rows=101).success
    report = quality_tables.validate("playback_events", whole_rows=100)
    assert (report.success, report.checked_on) == (True, "all 99 rows of the last day")

    long_ago = {"last_hour": NOON - timedelta(days=1, hours=1)}
    quality_tables.fill("watch_sessions", {**long_ago, "was_played": 2}, long_ago)
    assert not quality_tables.validate("watch_sessions", whole_rows=101).success
    report = quality_tables.validate("watch_sessions", whole_rows=100)
    assert (report.success, report.checked_on) == (True, "all 99 rows of the last day")
