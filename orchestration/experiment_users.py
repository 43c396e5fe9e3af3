"""The users of an experiment out of ClickHouse: first exposure, and what each did from then on, as sums per user."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingestion.clickhouse import number
from ml.experiment_users import COMPLETION, CTR, WATCH_TIME, ExperimentUsers, UnusableExperimentError
from serving.experiments.declaration import Experiment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LOG, SESSIONS = "feed_decisions", "watch_sessions"
BEFORE = timedelta(days=14)
"""How far back CUPED looks from a user's first exposure."""
SETTLE = timedelta(hours=1)
"""How long after a user's time of observation its events and sessions may still arrive."""

_MET = """
SELECT experiment, min(decided_at), uniqExactIf(user_id, NOT forced) AS users
FROM feed_decisions ARRAY JOIN mapKeys(variants) AS experiment
GROUP BY experiment HAVING users > 0 ORDER BY experiment
"""

# A user counts from the first list that was made in the experiment, with the variant of that list, whatever came
# later. Testers do not count at all. The log may hold a request twice: lists are counted by their id, and neither
# minimum nor first variant cares (FINAL would cost a sorted read for each use). The views of
# lists are few and held in memory, what the lists showed is much and streamed past them.
_USERS = """
WITH
    fromUnixTimestamp64Milli({since:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({as_of:Int64}, 'UTC') AS as_of,
    decisions AS (
        SELECT request_id, user_id, decided_at, forced, variants[{experiment:String}] AS variant,
            video_ids, length(video_ids) AS items
        FROM feed_decisions
        WHERE decided_at >= since AND mapContains(variants, {experiment:String}) AND user_id != ''
    ),
    exposures AS (
        SELECT user_id, argMin(variant, (decided_at, request_id)) AS first_variant, uniqExact(variant) AS met,
            min(decided_at) AS exposed_at, exposed_at + toIntervalMillisecond({observe:Int64}) AS observed_until
        FROM decisions GROUP BY user_id HAVING NOT max(forced)
    ),
    lists AS (
        SELECT user_id, toString(request_id) AS list, any(items) AS items
        FROM decisions INNER JOIN exposures USING (user_id) WHERE decided_at < observed_until
        GROUP BY user_id, request_id
    ),
    shown AS (SELECT user_id, sum(items) AS items FROM lists GROUP BY user_id),
    starts AS (
        SELECT user_id, request_id, video_id
        FROM playback_events INNER JOIN exposures USING (user_id)
        WHERE event_type = 'view_start' AND impression_timestamp >= since - INTERVAL 1 DAY
            AND impression_timestamp < observed_until
            AND (user_id, request_id) IN (SELECT user_id, list FROM lists)
    ),
    played AS (
        SELECT decisions.user_id AS user_id, uniqExact(starts.request_id, starts.video_id) AS plays
        FROM decisions INNER JOIN starts
            ON decisions.user_id = starts.user_id AND toString(decisions.request_id) = starts.request_id
        WHERE has(decisions.video_ids, starts.video_id)
        GROUP BY user_id
    ),
    watched AS (
        SELECT user_id,
            sumIf(effective_watch_time_ms, started_at >= exposed_at) / 1000 AS watched_s,
            countIf(is_valid_view AND started_at >= exposed_at) AS views,
            countIf(is_valid_view AND is_finished AND started_at >= exposed_at) AS finished,
            sumIf(effective_watch_time_ms, ended_at < exposed_at) / 1000 AS before_s
        FROM watch_sessions INNER JOIN exposures USING (user_id)
        WHERE last_hour >= toStartOfHour(since - toIntervalMillisecond({before:Int64}))
            AND started_at >= exposed_at - toIntervalMillisecond({before:Int64}) AND started_at < observed_until
        GROUP BY user_id
    )
SELECT first_variant, met, observed_until + toIntervalMillisecond({settle:Int64}) <= as_of AS observed,
    before_s, plays, items, watched_s, finished, views
FROM exposures
LEFT JOIN shown USING (user_id)
LEFT JOIN played USING (user_id)
LEFT JOIN watched USING (user_id)
"""


@dataclass(frozen=True)
class Met:
    """An experiment that lists were made in. `since`: the first of them, testers' included."""

    id: str
    since: datetime
    users: int


@dataclass(frozen=True, eq=False)
class Observed:
    """An experiment's users; `switched` of them met a second variant later and count for the first."""

    users: ExperimentUsers
    switched: int


def experiments_met(client: "Client") -> list[Met]:
    """Every experiment in the decision log; none if there is no log yet."""
    if not _exists(client, LOG):
        return []
    return [Met(*row) for row in client.query(_MET, tz_mode="aware").result_rows]


def sessions_are_built(client: "Client") -> bool:
    """Whether dbt has made `watch_sessions`."""
    return _exists(client, SESSIONS)


def fetch_users(client: "Client", experiment: Experiment, since: datetime, as_of: datetime) -> Observed:
    """The users of one experiment, those observed in full marked. Raises `UnusableExperimentError` if the log has
    variants that are not declared.

    CTR: items of a list with a `view_start` (a video the list did not show is none), of all items of the lists made
    while the user is observed. Watch time and completion: of every session of that time, wherever it came from, since
    a variant may move viewers there.
    """
    parameters = {
        "experiment": experiment.id,
        "since": _ms(since),
        "as_of": _ms(as_of),
        "observe": int(timedelta(days=experiment.observe_days).total_seconds() * 1000),
        "before": int(BEFORE.total_seconds() * 1000),
        "settle": int(SETTLE.total_seconds() * 1000),
    }
    result = client.query(_USERS, parameters=parameters, column_oriented=True)
    columns = result.result_columns or [[]] * 9
    variant, met, observed, before, plays, items, watched, finished, views = columns
    ones = np.ones(len(variant))
    users = ExperimentUsers(
        _places(variant, experiment),
        np.array(observed, bool),
        np.array(before, float),
        {
            CTR.name: (np.array(plays, float), np.array(items, float)),
            WATCH_TIME.name: (np.array(watched, float), ones),
            COMPLETION.name: (np.array(finished, float), np.array(views, float)),
        },
    )
    return Observed(users, int((np.array(met, int) > 1).sum()))


def _places(variants: Sequence[str], experiment: Experiment) -> NDArray[np.int64]:
    places = {variant.name: i for i, variant in enumerate(experiment.variants)}
    if unknown := sorted(set(variants) - places.keys()):
        raise UnusableExperimentError(
            f"users were in the variant {unknown[0]}, which is not declared: variants changed under way are "
            "another experiment and need another id"
        )
    return np.array([places[name] for name in variants], np.int64)


def _exists(client: "Client", table: str) -> bool:
    return bool(number(client, f"EXISTS TABLE {table}"))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
