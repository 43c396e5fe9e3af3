"""Dates of a training become dbt variables: whole days, never past the data's clock."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.training_window import TrainingWindowConfig, TrainingWindowError, training_variables
from stack.settings import Settings

CLOCK = datetime(2022, 5, 31, 12, 0, 0, 123_456, tzinfo=UTC)


def variables(start: str | None = None, end: str | None = None, clock: datetime = CLOCK) -> dict[str, object]:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    return training_variables(settings, TrainingWindowConfig(start_date=start, end_date=end), clock)


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ((None, None), {"training_window_days": 90}),
        (
            ("2022-05-01", "2022-05-10"),
            {
                "as_of": "2022-05-11 00:00:00.000",
                "training_window_days": 10,
                "training_start": "2022-05-01 00:00:00.000",
            },
        ),
        ((None, "2022-05-10"), {"as_of": "2022-05-11 00:00:00.000", "training_window_days": 90}),
        (
            ("2022-05-30", None),
            {
                "as_of": "2022-05-31 12:00:00.123",
                "training_window_days": 2,
                "training_start": "2022-05-30 00:00:00.000",
            },
        ),
        ((None, "2022-05-31"), {"as_of": "2022-05-31 12:00:00.123", "training_window_days": 90}),
        ((None, "2030-01-01"), {"as_of": "2022-05-31 12:00:00.123", "training_window_days": 90}),
    ],
)
def test_the_window_is_what_was_asked_for(dates: tuple, expected: dict) -> None:
    assert variables(*dates) == {"training_min_watch_time_ratio": 0.1, **expected}


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        (("2022-05-10", "2022-05-09"), "nothing lies between 2022-05-10 and 2022-05-10T00:00"),
        (("2022-06-01", None), "nothing lies between 2022-06-01 and 2022-05-31T12:00"),
        (("soon", None), "'soon' is no date"),
    ],
)
def test_dates_that_make_no_window_are_refused(dates: tuple, words: str) -> None:
    with pytest.raises(TrainingWindowError, match=words):
        variables(*dates)


@given(
    start=st.dates(date(2022, 1, 1), date(2022, 12, 31)),
    days=st.integers(0, 400),
    minutes=st.integers(0, 365 * 24 * 60),
)
def test_no_window_reaches_before_its_start_after_its_end_or_past_the_clock(
    start: date, days: int, minutes: int
) -> None:
    clock = datetime(2022, 6, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    end = start + timedelta(days=days)
    try:
        found = variables(start.isoformat(), end.isoformat(), clock)
    except TrainingWindowError:
        assert datetime.combine(start, datetime.min.time(), UTC) >= clock
        return
    as_of = datetime.fromisoformat(f"{found['as_of']}+00:00")
    cut = datetime.fromisoformat(f"{found['training_start']}+00:00")
    assert cut.date() == start
    assert as_of <= clock
    assert as_of <= datetime.combine(end, datetime.min.time(), UTC) + timedelta(days=1)
    # The window that is counted back from its end holds the start and less than a day more.
    slack = cut - (as_of - timedelta(days=int(str(found["training_window_days"]))))
    assert timedelta(0) <= slack < timedelta(days=1)
