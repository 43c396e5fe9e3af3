"""Proof that no training row sees its future: plant one, build the features anew, compare.

A sample of users is copied twice into a scratch database, as two worlds that share nothing: `a|` as it is, and `b|`
with events planted from a moment T on. dbt builds the training features of both from their raw events. What a row of
up to T says must be the same in both worlds, whatever came later; the same rows go into the training set.
"""

import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from data_quality.planted_comparison import compare
from data_quality.planted_events import plant
from data_quality.training_rows import TrainingSetEmptyError, data_clock
from data_quality.windows import epoch_ms, from_epoch_ms, iso_ms
from stack.clients import clickhouse_client, clickhouse_parts
from stack.dbt_environment import dbt_environment
from stack.settings import PROJECT_ROOT, Settings, child_environment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

RunDbt = Callable[[dict[str, str], list[str]], None]

DBT_TIMEOUT_S = 600
LEFTOVER_AGE_S = 3600
# Made by ingestion's schema, like the events: the models' hooks move rows between them.
_TABLES = (
    *("playback_events", "stg_users", "stg_videos"),
    *("session_inbox", "touched_sessions", "session_durations", "activity_inbox", "touched_days"),
)
_SAMPLE = """
CREATE TABLE sampled_users ENGINE = Memory AS
SELECT DISTINCT user_id FROM {main}.training_interactions
ORDER BY cityHash64(user_id, {{seed:UInt64}}), user_id LIMIT {{users:UInt64}}
"""
# An event keeps its id: it is one by its id and its session's ids, and the ids order what happened at the same
# millisecond, which must come out alike in both worlds.
_COPIES = (
    """
    INSERT INTO playback_events
    SELECT e.* REPLACE (
        concat(world, e.user_id) AS user_id, concat(world, e.video_id) AS video_id,
        concat(world, e.session_id) AS session_id
    )
    FROM {main}.playback_events AS e ARRAY JOIN ['a|', 'b|'] AS world
    WHERE e.user_id IN (SELECT sampled_users.user_id FROM sampled_users)
    SETTINGS max_partitions_per_insert_block = 0
    """,
    """
    INSERT INTO stg_users
    SELECT u.* REPLACE (concat(world, u.user_id) AS user_id)
    FROM {main}.stg_users AS u ARRAY JOIN ['a|', 'b|'] AS world
    WHERE u.user_id IN (SELECT sampled_users.user_id FROM sampled_users)
    """,
    """
    INSERT INTO stg_videos
    SELECT v.* REPLACE (concat(world, v.video_id) AS video_id)
    FROM {main}.stg_videos AS v ARRAY JOIN ['a|', 'b|'] AS world
    WHERE v.video_id IN (SELECT substring(played.video_id, 3) FROM playback_events AS played)
    """,
)
# Just after a play began, late in the busiest hour of the middle of the window: there most rows would show a feature
# that sees a bit too far.
_CUT = """
WITH starts AS (
    SELECT toUnixTimestamp64Milli(started_at) AS ms FROM {main}.training_interactions
    WHERE user_id IN (SELECT sampled_users.user_id FROM sampled_users)
)
SELECT quantileExact(0.9)(ms) + 1 FROM starts
WHERE ms >= (SELECT quantileExact(0.25)(ms) FROM starts) AND ms <= (SELECT quantileExact(0.75)(ms) FROM starts)
GROUP BY intDiv(ms, 3600000) AS hour
ORDER BY count() DESC, hour
LIMIT 1
"""


class DbtRunFailedError(Exception):
    """dbt did not build the two worlds; the message has the end of what it said."""


@dataclass(frozen=True)
class PlantedFuture:
    """`rows`: rows of up to `cut` that were compared; of `whole_rows` also what the row says of its session, as
    nothing was planted in that. `planted`: events by kind, in `sessions` sessions, from `cut` to `as_of`."""

    cut: datetime
    as_of: datetime
    users: int
    rows: int
    whole_rows: int
    sessions: int
    planted: dict[str, int]
    differences: int
    examples: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.rows > 0 and sum(self.planted.values()) > 0 and self.differences == 0


def planted_future(
    settings: Settings, run_dbt: RunDbt | None = None, *, users: int = 200, events: int = 1000, seed: int = 0
) -> PlantedFuture:
    """Whether events planted after a moment change a training row of before, among a sample of `users` users.

    `run_dbt(environment, arguments)` runs dbt, by default as a process. Reads the main database, writes only to one of
    its own, which is gone afterwards. The sample is of users in the main training_interactions. Raises `NoEventsError`,
    `TrainingSetEmptyError` if there is no row to compare, `DbtRunFailedError`.
    """
    with _scratch(settings) as scratch, closing(clickhouse_client(scratch)) as client:
        main = _quoted(str(clickhouse_parts(settings)["database"]))
        sampled = _copy_worlds(client, main, users, seed)
        if not sampled:
            raise TrainingSetEmptyError("training_interactions has no row: nothing was watched in its window")
        end_ms = epoch_ms(data_clock(client))
        cut_ms = min(int(client.query(_CUT.format(main=main)).result_rows[0][0]), end_ms)
        kinds, touched = plant(client, cut_ms=cut_ms, end_ms=end_ms, events=events, seed=seed)
        _build(scratch, run_dbt or _dbt)
        cut, as_of = from_epoch_ms(cut_ms), from_epoch_ms(end_ms)
        found = compare(client, cut, touched)
    if not found.rows:
        raise TrainingSetEmptyError(
            f"none of {sampled} users has a training row that began before {iso_ms(cut)}"
        )
    return PlantedFuture(
        cut=cut,
        as_of=as_of,
        users=sampled,
        rows=found.rows,
        whole_rows=found.whole_rows,
        sessions=len(touched),
        planted=kinds,
        differences=found.differences,
        examples=tuple(found.examples),
    )


@contextmanager
def _scratch(settings: Settings) -> Iterator[Settings]:
    """Settings of a new, empty database beside the main one; dropped afterwards, as are those of killed runs."""
    prefix = f"{clickhouse_parts(settings)['database']}_planted_"
    name = f"{prefix}{int(time.time())}_{secrets.token_hex(4)}"
    url = urlsplit(settings.clickhouse_url)._replace(path=f"/{name}").geturl()
    with closing(clickhouse_client(settings)) as server:
        _drop_leftovers(server, prefix)
        server.command(f"CREATE DATABASE {_quoted(name)}")
        try:
            yield settings.model_copy(update={"clickhouse_url_override": url})
        finally:
            server.command(f"DROP DATABASE IF EXISTS {_quoted(name)}")


def _drop_leftovers(server: "Client", prefix: str) -> None:
    """A younger one may belong to a run in progress."""
    names = server.query(
        "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})",
        parameters={"prefix": prefix},
    ).result_rows
    for (name,) in names:
        made = re.fullmatch(r"(\d+)_[0-9a-f]{8}", name.removeprefix(prefix))
        if made and int(made[1]) < time.time() - LEFTOVER_AGE_S:
            server.command(f"DROP DATABASE IF EXISTS {_quoted(name)}")


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _copy_worlds(client: "Client", main: str, users: int, seed: int) -> int:
    """How many users there were to sample. No materialized view: a first build reads all events, no inbox."""
    for table in _TABLES:
        client.command(f"CREATE TABLE {table} AS {main}.{table}")
    client.command(_SAMPLE.format(main=main), parameters={"seed": seed, "users": users})
    for copy in _COPIES:
        client.command(copy.format(main=main))
    return int(client.query("SELECT count() FROM sampled_users").result_rows[0][0])


def _build(scratch: Settings, run_dbt: RunDbt) -> None:
    """The training features and all they are made of, from the events up. The main target folder stays as it is."""
    values = {
        "feature_window_days": scratch.feature_window_days,
        "training_window_days": scratch.training_window_days,
    }
    folder = str(PROJECT_ROOT / "dbt_project")
    with tempfile.TemporaryDirectory(prefix="reelgraph-planted-") as target:
        environment = {**child_environment(scratch), **dbt_environment(scratch)}
        environment |= {"DBT_TARGET_PATH": target, "DBT_LOG_PATH": target}
        arguments = ["--quiet", "run", "-s", "+tag:training", "--exclude", "stg_users", "stg_videos"]
        arguments += ["--vars", dumps(values), "--project-dir", folder, "--profiles-dir", folder]
        run_dbt(environment, arguments)


def _dbt(environment: dict[str, str], arguments: list[str]) -> None:
    command = [str(Path(sys.executable).with_name("dbt")), *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=DBT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DbtRunFailedError(f"dbt took more than {DBT_TIMEOUT_S} s") from error
    if done.returncode:
        raise DbtRunFailedError((done.stdout + done.stderr).strip()[-4000:])
