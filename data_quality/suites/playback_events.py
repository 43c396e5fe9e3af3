"""Playback events (contract R1.1), as they lie in ClickHouse, repeated deliveries included."""

from data_quality.contracts import ARRIVAL, EVENTS, MAX_ID_LENGTH, DeviceType, EventType, NetworkType
from data_quality.suites.base import TableSuite, between, never, not_empty, not_missing, one_of
from data_quality.windows import DATA_CLOCK

MINUTES_AHEAD = 5
"""By so much a device's clock may be ahead of ours without a remark."""

_IDS = ("user_id", "video_id", "session_id")
_ENUMS = {"event_type": EventType, "device_type": DeviceType, "network_type": NetworkType}
_OPTIONAL = "playback_position_ms"
_YEARS = (2000, 2099)  # as the loader's contract: seconds or microseconds sent as milliseconds lie outside

SUITE = TableSuite(
    table=EVENTS.table,
    key="event_id",
    recent=f"impression_timestamp >= ({DATA_CLOCK}) - INTERVAL 1 DAY",
    columns=(*EVENTS.names, ARRIVAL.name),
    derived={
        **{name: f"toString({name})" for name in _ENUMS},
        **{f"{name}_length": f"lengthUTF8({name})" for name in _IDS},
        "impression_year": "toYear(impression_timestamp)",
        "arrival_year": "toYear(created_at)",
        # Only where the value is possible at all: an impossible one is its own statement's finding.
        "hour_disagrees": "time_of_day BETWEEN 0 AND 23 AND time_of_day != toHour(impression_timestamp, 'UTC')",
        "weekday_disagrees": (
            "day_of_week BETWEEN 1 AND 7 AND day_of_week != toDayOfWeek(impression_timestamp, 0, 'UTC')"
        ),
        "minutes_ahead_of_arrival": "dateDiff('second', created_at, impression_timestamp) / 60",
        "arrival_hours_ahead_of_now": "dateDiff('second', now64(3), created_at) / 3600",
        # Two or more decimals of a degree are about a kilometre: the contract wants city and country.
        "location_has_coordinates": "match(geo_location, '[0-9][.][0-9]{2,}')",
    },
    statements=(
        not_empty(),
        *not_missing(*(name for name in (*EVENTS.names, ARRIVAL.name) if name != _OPTIONAL)),
        *(
            between(f"ids_have_1_to_{MAX_ID_LENGTH}_characters", f"{name}_length", 1, MAX_ID_LENGTH)
            for name in _IDS
        ),
        *(
            one_of(f"{name}_is_one_of_the_contract", name, [value.value for value in values])
            for name, values in _ENUMS.items()
        ),
        between("positions_are_not_negative", "position_index", 0),
        between("positions_are_not_negative", _OPTIONAL, 0),
        between("scroll_speed_is_a_duration", "scroll_speed_ms", 0, 1e9),
        between("time_of_day_is_an_hour", "time_of_day", 0, 23),
        never("time_of_day_is_the_hour_of_the_timestamp", "hour_disagrees"),
        between("day_of_week_is_from_monday_1_to_sunday_7", "day_of_week", 1, 7),
        never("day_of_week_is_the_day_of_the_timestamp", "weekday_disagrees"),
        between("timestamps_lie_in_this_century", "impression_year", *_YEARS),
        between("arrivals_lie_in_this_century", "arrival_year", *_YEARS),
        between("nothing_arrives_in_the_future", "arrival_hours_ahead_of_now", high=1),
        # A device decides its own clock: a few wrong ones must not stop everybody's features. Many are our fault.
        between(
            "events_happen_before_they_arrive",
            "minutes_ahead_of_arrival",
            high=MINUTES_AHEAD,
            severity="warning",
        ),
        between(
            "almost_all_events_happen_before_they_arrive",
            "minutes_ahead_of_arrival",
            high=MINUTES_AHEAD,
            mostly=0.95,
        ),
        never("locations_are_coarse", "location_has_coordinates", severity="warning"),
    ),
)
