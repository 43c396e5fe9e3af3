"""Is a figure out of line with the table's own recent past? Pure functions; where figures come from: `profiles.py`.

A figure is compared with the median of its past by a robust z-score (Iglewicz and Hoaglin 1993: distance over 1.4826
times the median absolute deviation), so that one bad day in the past does not hide the next. The scale has a floor:
what was constant is allowed the noise that any figure of its kind has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median

THRESHOLD = 6.0
"""Robust standard deviations. A check an hour on a hundred figures must not cry wolf."""
MIN_HISTORY = 7
"""Points of the past before anything is judged: with less, the spread is a guess."""
DAYS = 28
WEEKDAYS = 56
"""How far back days are compared: eight weeks give enough of the same weekday, and only those count then."""
STEADY_HOURS = 24
"""A table must have received rows in so many different hours before silence means anything."""

_MAD_TO_SIGMA = 1.4826
_TENFOLD = math.log(10) / THRESHOLD * 0.999  # the scale at which ten times more, or less, is just an anomaly


@dataclass(frozen=True)
class Anomaly:
    """`metric` was `observed`; its past says `expected`. `score`: in robust standard deviations, signed."""

    metric: str
    observed: float
    expected: float
    score: float
    past: int
    """Points it was compared with."""
    when: str = ""


def judge_volume(metric: str, value: float, history: Sequence[float], when: str = "") -> Anomaly | None:
    """Counts of rows: by their ratio. Ten times less or more than usual always is an anomaly, in however noisy a past,
    unless it is a handful of rows; small counts are allowed the noise of counting."""
    if len(history) < MIN_HISTORY:
        return None
    usual = median(history)
    logs = [_log(past) for past in history]
    noise = 1 / math.sqrt(max(usual, 1))
    scale = min(max(_spread(logs), 0.15, noise), _TENFOLD)
    return _beyond(metric, value, usual, (_log(value) - _log(usual)) / scale, len(history), when)


def judge_share(metric: str, value: float, history: Sequence[float], when: str = "") -> Anomaly | None:
    """Shares of rows, as null rates: by their difference; a tenth more or less is never noise in a constant past."""
    return _linear(metric, value, history, floor=0.1 / THRESHOLD, when=when)


def judge_level(metric: str, value: float, history: Sequence[float], when: str = "") -> Anomaly | None:
    """Means and quantiles: by their difference; up to 30% is allowed for."""
    if len(history) < MIN_HISTORY:
        return None
    return _linear(metric, value, history, floor=max(0.05 * abs(median(history)), 0.01), when=when)


def judge_extreme(metric: str, value: float, history: Sequence[float], when: str = "") -> Anomaly | None:
    """Minima and maxima: by orders of magnitude, as a new extreme is nothing odd, but another unit is."""
    if len(history) < MIN_HISTORY:
        return None
    usual = median(history)
    logs = [_signed_log(past) for past in history]
    scale = max(_spread(logs), 0.35)
    return _beyond(
        metric, value, usual, (_signed_log(value) - _signed_log(usual)) / scale, len(history), when
    )


def judge_silence(arrivals: Sequence[datetime], now: datetime) -> Anomaly | None:
    """Freshness: has nothing arrived for longer than this table is ever quiet? In hours.

    `arrivals`: the hours in which rows arrived, any order. A recorded data set arrives once, in few hours, and is
    never late. The longest usual gap is allowed three times, and three hours in any case.
    """
    hours = sorted(set(arrivals))
    if len(hours) < STEADY_HOURS:
        return None
    gaps = [(later - earlier) / timedelta(hours=1) for earlier, later in pairwise(hours)]
    longest = sorted(gaps)[int(0.95 * (len(gaps) - 1))]
    silent = (now - hours[-1]) / timedelta(hours=1)
    allowed = max(3 * longest, 3.0)
    if silent <= allowed:
        return None
    return Anomaly("hours_since_the_last_arrival", silent, longest, silent / longest, len(gaps))


def complete_days(rows: Mapping[date, float], newest: datetime) -> dict[date, float]:
    """Rows of the days that are over, in order; a day without rows is a day with 0.

    `newest`: the newest event. Its day is still filling; the first day began before the data did.
    """
    days = [day for day in rows if day < newest.date()]
    if not days:
        return {}
    first, last = min(rows) + timedelta(days=1), newest.date() - timedelta(days=1)
    return {
        day: rows.get(day, 0.0) for day in (first + timedelta(days=i) for i in range((last - first).days + 1))
    }


def past_of(day: date, points: Mapping[date, float]) -> list[float]:
    """The figures to compare `day` with: those of its weekday in the last eight weeks if they are enough, so that a
    weekend is compared with weekends; else those of the last four weeks."""
    ages = {(day - other).days: figure for other, figure in points.items() if other < day}
    same = [figure for age, figure in ages.items() if age <= WEEKDAYS and age % 7 == 0]
    return same if len(same) >= MIN_HISTORY else [figure for age, figure in ages.items() if age <= DAYS]


def _linear(
    metric: str, value: float, history: Sequence[float], *, floor: float, when: str
) -> Anomaly | None:
    if len(history) < MIN_HISTORY:
        return None
    usual = median(history)
    scale = max(_spread(history), floor)
    return _beyond(metric, value, usual, (value - usual) / scale, len(history), when)


def _beyond(metric: str, value: float, usual: float, score: float, past: int, when: str) -> Anomaly | None:
    return Anomaly(metric, value, usual, score, past, when) if abs(score) >= THRESHOLD else None


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return _MAD_TO_SIGMA * median(abs(value - middle) for value in values)


def _log(rows: float) -> float:
    return math.log(max(rows, 0.5))  # 0 is less than 1, by as much as 1 is less than 2


def _signed_log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)
