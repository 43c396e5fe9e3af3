"""Do the tables that dbt built say what `pandas_features` says? Column by column, and no column is left out."""

from collections.abc import Sequence
from datetime import UTC, datetime

from .pandas_features import (
    Rows,
    World,
    trending_videos,
    user_engagement,
    user_features,
    video_features,
)
from .warehouse import Warehouse

FEATURES = ("run", "-s", "user_engagement", "user_features", "trending_videos", "video_features")


def build_features(warehouse: Warehouse, as_of: str | None) -> int:
    """Build the feature tables by this clock, the newest event's if None; the clock, in milliseconds since 1970."""
    warehouse.dbt(*FEATURES, **({} if as_of is None else {"as_of": as_of}))
    [(clock,)] = warehouse.rows("SELECT DISTINCT toUnixTimestamp64Milli(as_of) FROM user_features")
    if as_of is not None:
        assert clock == round(datetime.fromisoformat(as_of).replace(tzinfo=UTC).timestamp() * 1000)
    return int(clock)


def disagreements(
    warehouse: Warehouse, world: World, users: Sequence[str], videos: Sequence[str], as_of: int
) -> list[str]:
    """Every cell of the four tables, for these users and videos, that is not what pandas says."""
    trending = trending_videos(world, as_of)
    expected: dict[tuple[str, str], tuple[Sequence[str], Rows]] = {
        ("user_engagement", "user_id"): (users, user_engagement(world, users, as_of)),
        ("user_features", "user_id"): (users, user_features(world, users, as_of)),
        ("trending_videos", "video_id"): (
            videos,
            {video: trending[video] for video in videos if video in trending},
        ),
        ("video_features", "video_id"): (videos, video_features(world, videos, as_of, trending)),
    }
    found = []
    for (table, key), (ids, rows) in expected.items():
        actual = _read(warehouse, table, key, ids, as_of)
        if actual.keys() != rows.keys():
            found.append(
                f"{table}: rows of {sorted(actual.keys() ^ rows.keys())[:5]} are missing or too many"
            )
        for row in actual.keys() & rows.keys():
            assert actual[row].keys() == rows[row].keys(), table
            for column, said in actual[row].items():
                if not _same(column, said, rows[row][column]):
                    found.append(f"{table} {row} {column}: {said!r}, in pandas {rows[row][column]!r}")
    return found


def _read(warehouse: Warehouse, table: str, key: str, ids: Sequence[str], as_of: int) -> Rows:
    result = warehouse.client.query(
        f"SELECT * FROM {table} WHERE {key} IN {{ids:Array(String)}}",
        parameters={"ids": list(ids)},
        tz_mode="aware",
    )
    rows: Rows = {}
    for values in result.result_rows:
        row = dict(zip(result.column_names, values, strict=True))
        assert _ms(row.pop("as_of")) == as_of
        rows[row.pop(key)] = row
    assert len(rows) == len(result.result_rows)
    return rows


def _same(column: str, said: object, expected: object) -> bool:
    """Floats to 1e-5 (a session's ratio is summed to a millionth), the score to its 2 places, all else exactly.

    Lists of watched videos are in no order.
    """
    if isinstance(said, datetime):
        return _ms(said) == expected
    if said is None or expected is None:
        return said is expected
    if isinstance(said, float):
        assert isinstance(expected, int | float)
        if column == "engagement_score":
            return abs(said - expected) <= 0.005 + 1e-9 and said == round(said, 2)
        return abs(said - expected) <= 1e-5 * abs(expected) + 1e-6
    if column == "watched_video_ids":
        assert isinstance(said, list)
        return sorted(said) == expected
    return said == expected


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)
