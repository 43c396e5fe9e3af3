"""Features computed a second time, in pandas and plain Python, from the events up: knows nothing of the SQL.

F(x) is here what it says: drop the events that were not there at x, make sessions of the rest, and add them up. A
window's activity is F(as_of) - F(start of its first day). Times are milliseconds since 1970, UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
DEFAULT_DURATION_MS = 60_000
ENDS = {"view_end", "scroll_pass", "click"}
_KINDS = ["view_start", "view_end", "scroll_pass", "like", "comment", "share", "follow_creator", "save", "report",
          "pause", "resume", "seek", "replay", "click"]  # fmt: skip
# At the same millisecond a session begins first and ends last; others as the contract numbers them.
_RANK = {
    kind: (0 if kind == "view_start" else 200 if kind in ENDS else 100) + _KINDS.index(kind)
    for kind in _KINDS
}
_SUMS = ["sessions", "watch_ms", "effective_ms", "ratio", "finished", "valid", "plays", "engaged", "scrolled_in",
         "scrolled_out", "completed", "likes", "comments", "shares", "saves"]  # fmt: skip

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class World:
    """What there is: each event once; by id, the profiles as user_features has them, metadata as video_features has it.

    Columns of events: session (a number), user_id, video_id, at, kind, position (NaN if unknown), scrolled_to.
    """

    events: pd.DataFrame
    profiles: Rows
    metadata: Rows

    def duration_ms(self, video: str) -> int:
        return self.metadata.get(video, {}).get("duration_ms") or DEFAULT_DURATION_MS


def seen_at(events: pd.DataFrame, as_of: int) -> pd.DataFrame:
    """The events until `as_of`, of a session that was running then those until the last hour before."""
    hour = as_of - as_of % HOUR_MS
    running = events.loc[(events["at"] > as_of) & (events["at"] < hour + HOUR_MS), "session"].unique()
    seen = (events["at"] < hour) | ((events["at"] <= as_of) & ~events["session"].isin(running))
    return events[seen]


def sessions_of(world: World, events: pd.DataFrame) -> pd.DataFrame:
    """One row per session of these events: its ids, and a column for each of `_SUMS` and `played`."""
    ordered = events.assign(rank=events["kind"].map(_RANK)).sort_values(
        ["session", "at", "rank"], kind="stable"
    )
    columns = ("session", "user_id", "video_id", "at", "kind", "position", "scrolled_to")
    rows: list[dict[str, Any]] = []
    group: list[tuple[Any, ...]] = []
    for event in zip(*(ordered[name].tolist() for name in columns), strict=True):
        if group and event[0] != group[0][0]:
            rows.append(_session(world, group))
            group = []
        group.append(event)
    if group:
        rows.append(_session(world, group))
    return pd.DataFrame(rows, columns=["session", "user_id", "video_id", "played", *_SUMS])


def _session(world: World, events: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Written from R1.2, as a walk over the session's events in order."""
    key, user, video, first_at, _, _, scrolled_in = events[0]
    kinds = [event[4] for event in events]
    played = "view_start" in kinds
    start = end = first_at
    if played:
        start = events[kinds.index("view_start")][3]
        ends = [at for _, _, _, at, kind, _, _ in events if kind in ENDS and at >= start]
        end = max(ends) if ends else events[-1][3]
    total = end - start
    ratio = total / world.duration_ms(video)
    return {
        "session": key,
        "user_id": user,
        "video_id": video,
        "played": played,
        "sessions": 1,
        "watch_ms": total,
        "effective_ms": _effective_ms(events, start, end) if played else 0,
        "ratio": ratio,
        "finished": int(ratio >= 0.9),
        "valid": int(total > 300),
        "plays": int(played),
        "engaged": int(ratio > 0.7),
        "scrolled_in": int(scrolled_in),
        "scrolled_out": int("scroll_pass" in kinds),
        "completed": int(kinds[-1] == "view_end"),
        "likes": kinds.count("like"),
        "comments": kinds.count("comment"),
        "shares": kinds.count("share"),
        "saves": kinds.count("save"),
    }


def _effective_ms(events: list[tuple[Any, ...]], start: int, end: int) -> int:
    """Time in the playing state, less what a seek back showed again: a debt that playing pays until the next jump."""
    playing, last, effective, debt = False, start, 0, 0
    place: float | None = None  # where the player stands
    for _, _, _, at, kind, position, _ in events:
        if playing:
            step = max(0, min(at, end) - max(last, start))
            repeated = min(step, debt)
            effective, debt = effective + step - repeated, debt - repeated
            place = None if place is None else place + step
        known = position == position  # not NaN
        if kind in ("view_start", "replay", "seek"):
            debt = 0
        if kind == "seek" and place is not None and known:
            debt = max(0, round(place - position))
        if known:
            place = position
        elif kind in ("view_start", "replay"):
            place = 0
        if kind in ("view_start", "resume", "replay"):
            playing = True
        elif kind == "pause" or kind in ENDS:
            playing = False
        last = at
    return effective


@dataclass(frozen=True)
class Window:
    """Activity of some users or videos in the `days` days up to `as_of`."""

    sums: pd.DataFrame
    """F(as_of) - F(start), by id: also ids whose sessions are all older."""
    active: pd.DataFrame
    """The sessions that something happened in, as they stood at as_of."""


def window(world: World, by: str, ids: Iterable[str], as_of: int, days: int = 30) -> Window:
    mine = world.events[world.events[by].isin(set(ids))]
    start = as_of - as_of % DAY_MS - (days - 1) * DAY_MS
    seen = seen_at(mine, as_of)
    now = sessions_of(world, seen)
    before = sessions_of(world, mine[mine["at"] < start])
    sums = now.groupby(by)[_SUMS].sum().sub(before.groupby(by)[_SUMS].sum(), fill_value=0)
    return Window(sums, now[now["session"].isin(seen.loc[seen["at"] >= start, "session"])])


def _mean(total: float, count: float) -> float | None:
    return total / count if count > 0 else None


def user_features(world: World, ids: Iterable[str], as_of: int) -> Rows:
    """The rows of user_features of these users."""
    recent = window(world, "user_id", ids, as_of)
    watched = (
        recent.active[recent.active["played"]].groupby("user_id")["video_id"].agg(lambda v: sorted(set(v)))
    )
    active = set(recent.active["user_id"])
    rows: Rows = {}
    for user in ids:
        of = recent.sums.loc[user] if user in active else dict.fromkeys(_SUMS, 0)
        videos = watched.get(user, [])
        profile = world.profiles[user]
        created = profile["created_at"]
        rows[user] = {
            **profile,
            "total_sessions": of["sessions"],
            "avg_completion_ratio": _mean(of["ratio"], of["sessions"]),
            "total_watch_time_ms": of["watch_ms"],
            "unique_videos_watched": len(videos),
            "watched_video_ids": videos,
            "finished_videos_count": of["finished"],
            "valid_views_count": of["valid"],
            "avg_effective_watch_time_ms": _mean(of["effective_ms"], of["sessions"]),
            "account_age_days": as_of // DAY_MS - created // DAY_MS,
            "engagement_score": _mean(_engagement(of), of["sessions"]),
        }
    return rows


def _engagement(of: Any) -> float:
    return float(of["engaged"] + 0.3 * of["likes"] + 0.4 * of["shares"] + 0.4 * of["comments"])


def user_engagement(world: World, ids: Iterable[str], as_of: int) -> Rows:
    """The rows of user_engagement of these users; the score is not rounded."""
    sums = window(world, "user_id", ids, as_of).sums
    return {
        str(user): {
            "total_sessions": of["sessions"],
            "engaged_sessions": of["engaged"],
            "like_count": of["likes"],
            "share_count": of["shares"],
            "comment_count": of["comments"],
            "engagement_score": _mean(_engagement(of), of["sessions"]),
        }
        for user, of in sums[sums["sessions"] > 0].iterrows()
    }


def trending_videos(world: World, as_of: int, places: int = 100) -> Rows:
    """The rows of trending_videos, all of them: a rank needs every video."""
    seen = seen_at(world.events, as_of)
    week = as_of - as_of % DAY_MS - 6 * DAY_MS
    starts = seen[seen["kind"] == "view_start"].groupby("session").agg({"at": "min", "video_id": "first"})
    counts = pd.DataFrame(index=pd.Index(seen["video_id"].unique(), name="video_id"))
    counts["plays_7d"] = starts[starts["at"] >= week].groupby("video_id").size()
    counts["plays_cumulative"] = starts.groupby("video_id").size()
    counts["likes_cumulative"] = seen[seen["kind"] == "like"].groupby("video_id").size()
    counts = counts.fillna(0).reset_index()
    counts = counts.sort_values(["plays_7d", "plays_cumulative", "video_id"], ascending=[False, False, True])
    rows = counts.to_dict("records")
    return {
        row.pop("video_id"): {**row, "rank": rank, "is_trending": rank <= places and row["plays_7d"] > 0}
        for rank, row in enumerate(rows, 1)
    }


def video_features(world: World, ids: Iterable[str], as_of: int, trending: Rows) -> Rows:
    """The rows of video_features of these videos, given those of trending_videos."""
    recent = window(world, "video_id", ids, as_of)
    viewers = recent.active.groupby("video_id")["user_id"].nunique()
    rows: Rows = {}
    for video in ids:
        of = recent.sums.loc[video] if video in recent.sums.index else dict.fromkeys(_SUMS, 0)
        completed = max(of["completed"], 0)
        share = _mean(completed, of["sessions"])
        plays = trending.get(video, {"plays_7d": 0, "plays_cumulative": 0})
        rows[video] = {
            **world.metadata[video],
            "total_sessions": of["sessions"],
            "avg_completion_ratio": _mean(of["ratio"], of["sessions"]),
            "unique_viewers": viewers.get(video, 0),
            "finished_count": of["finished"],
            "valid_view_count": of["valid"],
            "avg_watch_time_ms": _mean(of["watch_ms"], of["sessions"]),
            "scroll_in_count": of["scrolled_in"],
            "completed_sessions": completed,
            "scrolled_away_count": of["scrolled_out"],
            "like_count": of["likes"],
            "share_count": of["shares"],
            "comment_count": of["comments"],
            "save_count": of["saves"],
            "retention_rate": None if share is None else min(share, 1),
            "engagement_rate": _mean(of["likes"] + of["shares"] + of["comments"], of["sessions"]),
            "plays_7d": plays["plays_7d"],
            "plays_cumulative": plays["plays_cumulative"],
        }
    return rows
