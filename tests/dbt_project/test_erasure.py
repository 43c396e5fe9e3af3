"""After an erasure and the next dbt run the warehouse is the one that is built of everybody else's events."""

import pytest

from ingestion.erasure.erase import erase_user, recheck
from ingestion.erasure.receipt import State

from .warehouse import Event, Warehouse

pytestmark = pytest.mark.stack

ERASED, OTHER = "zoë's %*\\", "zoë's %*\\:x"
HOUR = 3600
BUILT = (
    "int_session_states",
    "int_daily_user_activity",
    "int_daily_video_activity",
    "user_features",
    "video_features",
)


def plays(user: str) -> list[Event]:
    """Two plays of a video both people watch, a day apart, and one across midnight."""
    return [
        *(Event(f"s{day}", "view_start", day * 24 * HOUR, 0, user=user) for day in (0, 1)),
        *(Event(f"s{day}", "view_end", day * 24 * HOUR + 9, 9000, user=user) for day in (0, 1)),
        Event("late", "view_start", 0, 0, user=user, video="v2"),
        Event("late", "view_end", 60, 60_000, user=user, video="v2"),
    ]


def content(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    """Every row but for arrival times, which differ between two deliveries."""
    rows = {}
    for table in BUILT:
        except_arrival = " EXCEPT (last_arrival_at)" if table == "int_session_states" else ""
        rows[table] = warehouse.rows(f"SELECT *{except_arrival} FROM {table} ORDER BY ALL")
    return rows


def build(warehouse: Warehouse) -> None:
    warehouse.dbt("run", "--exclude", "training")  # its tables have the user in a column like the others


@pytest.mark.slow
@pytest.mark.usefixtures("redis")
def test_the_next_run_forgets_the_user_in_every_table(warehouse: Warehouse) -> None:
    warehouse.catalogue("INSERT INTO users (user_id) VALUES (:a), (:b)", a=ERASED, b=OTHER)
    warehouse.add([*plays(ERASED), *plays(OTHER)])
    build(warehouse)
    both = content(warehouse)

    receipt = erase_user(warehouse.settings, ERASED)
    found = {entry.place: entry.state for entry in receipt.entries}
    assert receipt.held == []
    assert [entry.place for entry in receipt.waiting] == ["ClickHouse int_daily_video_activity"]
    assert State.UNCHECKED not in found.values()
    build(warehouse)
    build(warehouse)  # the erasure of the sets that the first one replaced
    erase_user(warehouse.settings, ERASED)
    assert recheck(warehouse.settings, ERASED).completed_at is not None
    erased = content(warehouse)
    warehouse.catalogue("TRUNCATE erased_users, erasure_key")

    warehouse.clear()
    warehouse.catalogue("INSERT INTO users (user_id) VALUES (:b)", b=OTHER)
    warehouse.add(plays(OTHER))
    build(warehouse)
    assert erased == content(warehouse)
    assert erased != both
