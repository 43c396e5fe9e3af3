"""Which stretch of time a training set is made of: the last days, or dates that somebody asked for."""

from datetime import UTC, date, datetime, time, timedelta
from math import ceil

import dagster as dg
from pydantic import Field

from data_quality.training_set import MIN_WATCH_TIME_RATIO
from stack.settings import Settings

DAY = timedelta(days=1)
OP = "training_models"
"""The op that takes `TrainingWindowConfig`."""


class TrainingWindowConfig(dg.Config):
    """Whole days of UTC, both included. Unset: up to the data's newest event, `training_window_days` before it."""

    start_date: str | None = Field(
        default=None, description="YYYY-MM-DD; nothing begun before it is trained on"
    )
    end_date: str | None = Field(
        default=None, description="YYYY-MM-DD; nothing from after this day is trained on"
    )

    @property
    def is_set(self) -> bool:
        return self.start_date is not None or self.end_date is not None


class TrainingWindowError(ValueError):
    """The dates make no window; the message says why."""


def training_variables(
    settings: Settings, config: TrainingWindowConfig | None = None, clock: datetime | None = None
) -> dict[str, object]:
    """The dbt variables of a training set: its window and its filter (contract R4).

    `clock` is the data's newest moment, needed where there are dates: the window never reaches past it. Raises
    `TrainingWindowError`."""
    variables: dict[str, object] = {
        "training_window_days": settings.training_window_days,
        "training_min_watch_time_ratio": MIN_WATCH_TIME_RATIO,
    }
    if config is None or not config.is_set:
        return variables
    if clock is None:
        raise TrainingWindowError("dates need the data's clock")
    start, end = _midnight(config.start_date), _midnight(config.end_date)
    as_of = min(clock, end + DAY) if end else clock
    if start and start >= as_of:
        raise TrainingWindowError(
            f"nothing lies between {start:%Y-%m-%d} and {as_of.isoformat(timespec='milliseconds')}, the end of the "
            "data or of what was asked for"
        )
    variables["as_of"] = _literal(as_of)
    if start:
        # Counted in days back from its end, the window may begin within the day before: `training_start` cuts that.
        variables["training_window_days"] = ceil((as_of - start) / DAY)
        variables["training_start"] = _literal(start)
    return variables


def _midnight(day: str | None) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC)
    except ValueError as error:
        raise TrainingWindowError(f"{day!r} is no date (YYYY-MM-DD)") from error


def _literal(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03}"
