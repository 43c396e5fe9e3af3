"""KuaiRand-late: the benchmark's known rows as models are given them, and the pairs that judge."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Catalogue, Interactions, Known, Watched
from ml.evaluate import TestUsers
from ml.split import Split

LOG = "log_standard_4_22_to_5_08_pure.csv"
VIDEOS = "video_features_basic_pure.csv"
HISTORIES = "history_sequences.parquet"

LAST_KNOWN_DAY, LAST_DAY = 20220430, 20220508
# What is chosen is chosen by fitting on days up to the first and looking at the days up to the last known one.
LAST_INNER_DAY = 20220427

_BEIJING = timezone(timedelta(hours=8))  # the log's dates are local
_DAY_MS = 86_400_000
_LOG_BEGINS = 20220425

# A watch of the history or a click counts less than one the log calls long, a video that was only played less still.
LONG, WATCHED, PLAYED = 1.0, 0.3, 0.1

Table = Any  # a pandas.DataFrame; pandas is imported when a file is read


@dataclass(frozen=True)
class Late:
    """`known` up to a day and who is judged on the long views of the days after it.

    `users` have some known row; `pairs` and `all_users` count the long views of pairs not met before, also of those
    who have none. Rows of the log with a play are interactions (positive: long view), all rows are met.
    """

    known: Known
    later: Interactions
    users: TestUsers
    pairs: int
    all_users: int

    @classmethod
    def of(cls, tables: "Tables", last_known_day: int, last_day: int) -> Self:
        as_of_ms = _midnight_ms(last_known_day) + _DAY_MS
        log = tables.log
        before = log[log["date"] <= last_known_day]
        after = log[(log["date"] > last_known_day) & (log["date"] <= last_day)]
        past = _joined(tables.histories, _of_log(before, as_of_ms))
        later = _of_log(after, None)
        watched = _first_meetings(
            np.concatenate([tables.histories.user_ids, _ids(before["user_id"])]),
            np.concatenate([tables.histories.video_ids, _ids(before["video_id"])]),
            np.concatenate([tables.histories.started_at_ms, before["time_ms"].to_numpy(np.int64)]),
        )
        everybody = TestUsers.of(Split(past, later, as_of_ms), watched)
        return cls(
            known=Known.of(past, tables.catalogue, watched=watched, as_of_ms=as_of_ms),
            later=later,
            users=_only(everybody, np.isin(everybody.user_ids, watched.user_ids)),
            pairs=len(everybody.relevant[0]),
            all_users=len(everybody.user_ids),
        )


@dataclass(frozen=True)
class Tables:
    """The files: the log without repeats, the histories as interactions, the catalogue."""

    log: Table
    histories: Interactions
    catalogue: Catalogue

    @classmethod
    def read(cls, data: Path) -> Self:
        """`data` holds `KuaiRand-Pure/data`. A repeated (user, video, time) counts once, with its longest play."""
        import pandas as pd

        folder = data / "KuaiRand-Pure" / "data"
        log = pd.read_csv(folder / LOG)
        log = log.sort_values("play_time_ms", kind="stable")
        log = log.drop_duplicates(["user_id", "video_id", "time_ms"], keep="last")
        log = log.sort_values(["time_ms", "user_id", "video_id"], kind="stable")
        histories = pd.read_parquet(folder / HISTORIES)
        return cls(log, _of_histories(histories), _catalogue(pd.read_csv(folder / VIDEOS)))


def _of_histories(table: Table) -> Interactions:
    """The watches up to 24 April in order. Their times are made up but for the last: evenly spread over the days from
    the first upload, for the files tell the order alone. So are the ratings, for SVD's sake."""
    lengths = table["watch_seq"].map(len).to_numpy()
    users = np.repeat(table["user_id"].to_numpy(), lengths)
    videos = np.concatenate(table["watch_seq"].to_numpy()) if len(table) else np.empty(0, np.int64)
    first_ms = _midnight_ms(_LOG_BEGINS) - 16 * _DAY_MS
    last_ms = np.minimum(table["last_time_ms"].to_numpy(np.int64), _midnight_ms(_LOG_BEGINS) - 1)
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    share = place / np.repeat(lengths, lengths)
    span_ms = np.repeat(np.maximum(last_ms - first_ms, 0), lengths)
    times_ms = np.repeat(last_ms, lengths) - np.rint(span_ms * (1 - share)).astype(np.int64)
    m = int(videos.max(initial=0)) + 1
    long = [
        np.asarray(seq, np.int64) + user * m
        for user, seq in zip(table["user_id"], table["long_watch_seq"], strict=True)
    ]
    positives = np.isin(users * m + videos, np.concatenate(long)) if long else np.zeros(0, dtype=np.bool_)
    weights = np.where(positives, LONG, WATCHED).astype(np.float32)
    return _sorted(
        Interactions(
            user_ids=users.astype(np.str_),
            video_ids=videos.astype(np.str_),
            started_at_ms=times_ms,
            ended_at_ms=times_ms,
            ratings=5 * weights,
            weights=weights,
            positives=positives,
        )
    )


def _of_log(log: Table, known_until_ms: int | None) -> Interactions:
    """Its rows with a play. What was still playing at `known_until_ms` counts as ended then: the benchmark's rule is
    that all rows of a day are known at its end."""
    log = log[(log["play_time_ms"] > 0) | (log["long_view"] == 1)]
    started_at_ms = log["time_ms"].to_numpy(np.int64)
    ended_at_ms = started_at_ms + log["play_time_ms"].to_numpy(np.int64)
    if known_until_ms is not None:
        started_at_ms = np.minimum(started_at_ms, known_until_ms - 1)
        ended_at_ms = np.minimum(ended_at_ms, known_until_ms - 1)
    positives = (log["long_view"] == 1).to_numpy()
    ratio = log["play_time_ms"].to_numpy() / np.maximum(log["duration_ms"].to_numpy(), 1)
    weights = np.where(positives, LONG, np.where(log["is_click"] == 1, WATCHED, PLAYED))
    return Interactions(
        user_ids=_ids(log["user_id"]),
        video_ids=_ids(log["video_id"]),
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
        ratings=(5 * np.minimum(ratio, 1)).astype(np.float32),
        weights=weights.astype(np.float32),
        positives=positives,
    )


def _catalogue(videos: Table) -> Catalogue:
    uploaded = videos["upload_dt"].map(lambda day: _midnight_ms(int(str(day).replace("-", ""))))
    return Catalogue.of(
        _ids(videos["video_id"]),
        creator_ids=_ids(videos["author_id"]),
        categories=videos["upload_type"].fillna("").astype(str).to_numpy(np.str_),
        durations_ms=videos["video_duration"].fillna(-1).to_numpy(np.int64),
        upload_ms=uploaded.to_numpy(np.int64),
        tags=[tuple(tag for tag in str(tags).split(",") if tag) for tags in videos["tag"].fillna("")],
    )


def _first_meetings(user_ids: NDArray, video_ids: NDArray, times_ms: NDArray[np.int64]) -> Watched:
    users, user_rows = np.unique(user_ids, return_inverse=True)
    videos, video_rows = np.unique(video_ids, return_inverse=True)
    order = np.argsort(times_ms, kind="stable")
    pairs, first = np.unique((user_rows * len(videos) + video_rows)[order], return_index=True)
    return Watched(users[pairs // len(videos)], videos[pairs % len(videos)], times_ms[order][first])


def _only(users: TestUsers, wanted: NDArray[np.bool_]) -> TestUsers:
    renumbered = np.cumsum(wanted) - 1

    def kept(pairs: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
        of_wanted = wanted[pairs[0]]
        return renumbered[pairs[0][of_wanted]], pairs[1][of_wanted]

    return TestUsers(
        users.user_ids[wanted], users.video_ids, kept(users.relevant), kept(users.met), users.new[wanted]
    )


def _joined(one: Interactions, other: Interactions) -> Interactions:
    return _sorted(
        Interactions(
            **{name: np.concatenate([column, getattr(other, name)]) for name, column in vars(one).items()}
        )
    )


def _sorted(rows: Interactions) -> Interactions:
    return rows.take(np.argsort(rows.started_at_ms, kind="stable"))


def _ids(column: Table) -> NDArray[np.str_]:
    return column.to_numpy().astype(np.str_)


def _midnight_ms(day: int) -> int:
    return int(datetime.strptime(str(day), "%Y%m%d").replace(tzinfo=_BEIJING).timestamp() * 1000)
