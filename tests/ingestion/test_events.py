"""Ids and clocks of events: derived from the content, the same everywhere."""

import uuid
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingestion.events import day_of_week, derived_uuids, texts_of, time_of_day


def test_a_derived_id_is_a_uuid_of_version_8_and_the_same_for_ever() -> None:
    (text,) = derived_uuids("test", np.array([1]), np.array([2])).to_pylist()
    assert text == str(uuid.UUID(text)) == "7c6a085b-9866-81e5-a5f6-2395efabc5c4"
    assert (uuid.UUID(text).version, uuid.UUID(text).variant) == (8, uuid.RFC_4122)


def test_ids_differ_by_namespace_part_and_order_of_parts() -> None:
    one, two = np.array([1]), np.array([2])
    made = [
        derived_uuids(space, *parts)[0].as_py()
        for space, parts in (
            ("a", (one, two)),
            ("b", (one, two)),
            ("a", (two, one)),
            ("a", (one,)),
            ("a", (one, one)),
        )
    ]
    assert len(set(made)) == 5


def test_a_million_neighbouring_keys_do_not_collide() -> None:
    number = np.arange(1_000_000)
    ids = derived_uuids("test", number // 1000, number % 1000)
    assert len(ids.unique()) == 1_000_000


def test_no_rows_give_no_ids() -> None:
    assert derived_uuids("test", np.array([], np.int64)).to_pylist() == []


@given(st.integers(946_684_800_000, 4_102_444_800_000))
def test_the_clock_is_that_of_utc(epoch_ms: int) -> None:
    ms = np.array([epoch_ms])
    at = datetime.fromtimestamp(ms[0] / 1000, UTC)
    assert (time_of_day(ms)[0], day_of_week(ms)[0]) == (at.hour, at.isoweekday())


def test_numbers_become_texts_in_their_place() -> None:
    assert texts_of(np.array([7, 0, 7]), "u").to_pylist() == ["u7", "u0", "u7"]
