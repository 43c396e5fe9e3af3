"""A platform's day of playback events, made inside ClickHouse: who watches what is fixed, and the same every time.

A user opens the app twice a day and plays ten videos each time, 35 seconds apart; a play is five events over 2 to 32
seconds. Popular videos are played more (the density of a video's index falls as one over its root). Events arrive in no
order of users, 0.8 to 5.8 seconds after they happened.
"""

from datetime import UTC, datetime

from orchestration.bench.data.stores import Stores
from stack.clients import postgres_engine

DAY = datetime(2026, 3, 30, tzinfo=UTC)
PLAYS_PER_USER = 20
EVENTS_PER_PLAY = 5
LAST_START_MS = 85_700_000
"""No app session starts later in the day, so all of its plays end before `INCREMENT_MS`."""
INCREMENT_MS = 86_050_000
"""When the increments' five minutes begin."""
PRIME = 7_368_787
"""Coprime with any number of plays that is not a multiple of it: multiplying by it shuffles them."""

COLUMNS = (
    "event_id, user_id, video_id, session_id, event_type, position_index, impression_timestamp, scroll_speed_ms, "
    "playback_position_ms, device_type, network_type, geo_location, time_of_day, day_of_week, request_id, created_at"
)

# The events of a play, in milliseconds from its start: (type, when, position in the video).
_EVENTS = """
    arrayConcat(
        [(1, 0, 0)],
        multiIf(
            play % 3 = 0, [(10, intDiv(len, 4), intDiv(len, 4)), (11, intDiv(len, 4) + 1500, intDiv(len, 4))],
            play % 3 = 1, [(4, intDiv(len, 3), NULL), (12, intDiv(len, 2), intDiv(len, 3))],
            [(5, intDiv(len, 3), NULL), (13, intDiv(len, 2), 0)]
        ),
        [(multiIf(play % 7 = 0, 6, play % 11 = 0, 7, 8), intDiv(len, 2) + 10, NULL)],
        [(if(play % 2 = 0, 2, 3), len, len)]
    )::Array(Tuple(Int8, Int64, Nullable(Int32)))
"""

# One row per play -> its events. Needs: play, u, v, session, rank, start (ms of the day), request.
_TO_EVENTS = """
SELECT
    reinterpretAsUUID(sipHash128(play, session, e_number)),
    concat('user_', toString(u)) AS user_id,
    concat('video_', toString(v)),
    session,
    e.1,
    rank,
    {day:DateTime64(3, 'UTC')} + toIntervalMillisecond(start + e.2) AS happened_at,
    if(e.1 = 3, 120 + play % 900, 0),
    e.3,
    1 + u % 3,
    1 + u % 4,
    ['Berlin, DE', 'Lyon, FR', 'Austin, US', 'Jakarta, ID', 'Lagos, NG'][1 + u % 5],
    toHour(happened_at),
    toDayOfWeek(happened_at),
    request,
    happened_at + toIntervalMillisecond(800 + sipHash64(play, e_number) % 5000)
FROM (
    SELECT *, 2000 + sipHash64(play, 1) % 30000 AS len, {events} AS events
    FROM ({plays})
)
ARRAY JOIN events AS e, arrayEnumerate(events) AS e_number
"""

_DAY_OF_PLAYS = """
    SELECT
        (number * {prime:UInt64}) % {plays:UInt64} + {first_play:UInt64} AS play,
        intDiv(play, 20) AS u,
        toUInt32(pow((sipHash64(play) % 1000003) / 1000003., 2) * {videos:UInt32}) AS v,
        intDiv(play % 20, 10) AS opening,
        concat('session_', toString(u), '_', toString(opening)) AS session,
        toInt32(play % 10) AS rank,
        sipHash64(u, opening) % ({last_start:UInt64} - 350000) + rank * 35000 AS start,
        toString(reinterpretAsUUID(sipHash128(u, opening))) AS request
    FROM numbers({plays:UInt64})
"""


def insert_events(stores: Stores, plays_sql: str, **parameters: object) -> None:
    """Insert the events of the plays that `plays_sql` says, through everything that an insert goes through."""
    body = _TO_EVENTS.replace("{events}", _EVENTS).replace("{plays}", plays_sql)
    settings = "SETTINGS max_insert_threads = 2, max_threads = 2"
    sql = f"INSERT INTO playback_events ({COLUMNS}) {body} {settings}"
    stores.command(sql, day=DAY, **parameters)


def insert_day(stores: Stores, first_play: int, plays: int, videos: int) -> None:
    """`plays` plays of the day, of the users that come after those of the `first_play` plays there are."""
    insert_events(
        stores,
        _DAY_OF_PLAYS,
        prime=PRIME,
        plays=plays,
        first_play=first_play,
        videos=videos,
        last_start=LAST_START_MS,
    )


def insert_catalogue(stores: Stores, users: int, videos: int) -> None:
    """Fill Postgres' `users` and `videos`, made inside it."""
    from sqlalchemy import text

    engine = postgres_engine(stores.settings)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO users (user_id, created_at, age, gender, language, interested_categories,"
                " device_type, region)"
                " SELECT 'user_' || n, timestamptz '2025-01-01' + n % 300 * interval '1 day', 18 + n % 50,"
                " (ARRAY['male', 'female', 'unknown'])[1 + n % 3], (ARRAY['en', 'de', 'fr'])[1 + n % 3],"
                " ARRAY['category_' || n % 20, 'category_' || n % 7], 'ios', 'region_' || n % 30"
                " FROM generate_series(0, :users - 1) AS n"
            ),
            {"users": users},
        )
        connection.execute(
            text(
                "INSERT INTO videos (video_id, creator_id, title, upload_time, duration_ms, category, tags, language)"
                " SELECT 'video_' || n, 'creator_' || n % 5000, 'Title of video ' || n,"
                " timestamptz '2025-06-01' + n % 200 * interval '1 day', 5000 + n::bigint * 7919 % 55000,"
                " 'category_' || n % 20, ARRAY['tag_' || n % 100, 'tag_' || n % 33], 'en'"
                " FROM generate_series(0, :videos - 1) AS n"
            ),
            {"videos": videos},
        )
    engine.dispose()
