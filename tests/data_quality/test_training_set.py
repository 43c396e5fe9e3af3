import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_quality.training_set import (
    FEATURES_SCHEMA,
    INTERACTIONS_SCHEMA,
    MET_SCHEMA,
    TRAINING_SCHEMA,
    USERS_SCHEMA,
    VIDEOS_SCHEMA,
    TrainingSetEmptyError,
    Window,
    epoch_ms,
    from_epoch_ms,
    iso_ms,
    write_parquet,
    write_training_set,
)

MakeInteractions = Callable[..., pa.Table]
MakeMet = Callable[[pa.Table], pa.Table]


def fingerprints(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(directory.iterdir())}


def test_the_same_rows_in_another_order_and_chunking_give_the_same_bytes(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = make_interactions(50)
    shuffled = rows.take([(7 * i) % 50 for i in range(50)])
    chunked = pa.concat_tables([shuffled.slice(0, 13), shuffled.slice(13, 1), shuffled.slice(14)])
    reversed_videos = catalogue.take([3, 2, 1, 0])
    met = make_met(rows)
    shuffled_met = pa.concat_tables([met.slice(5), met.slice(0, 5)])
    write_training_set(tmp_path / "a", rows, catalogue, met=met, as_of=as_of)
    write_training_set(tmp_path / "b", chunked, reversed_videos, met=shuffled_met, as_of=as_of)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")
    assert list(fingerprints(tmp_path / "a")) == [
        *("interactions.parquet", "meta.json", "users.parquet", "videos.parquet", "watched.parquet")
    ]


def test_the_meta_file_states_window_filter_and_counts(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    expected = {
        "as_of": "2022-05-08T12:00:00.000Z",
        "window_start": "2022-02-07T12:00:00.000Z",
        "window_days": 90,
        "min_watch_time_ratio": 0.1,
        "rows": 6,
        "users": 3,
        "videos": 4,
        "positives": 3,
        "catalogue_videos": 4,
        "met_pairs": 6,
        "profiles": 0,
        "seed": 7,
        "features": None,
    }
    rows = make_interactions(6)
    meta = write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of, seed=7)
    text = (tmp_path / "set" / "meta.json").read_text()
    assert json.loads(text) == meta
    assert text == json.dumps(meta, indent=2, sort_keys=True) + "\n"
    schema = meta.pop("schema")
    assert meta == expected
    assert schema == {
        name: {column.name: str(column.type) for column in schema}
        for name, schema in [
            ("interactions.parquet", INTERACTIONS_SCHEMA),
            ("videos.parquet", VIDEOS_SCHEMA),
            ("watched.parquet", MET_SCHEMA),
            ("users.parquet", USERS_SCHEMA),
        ]
    }
    assert schema["interactions.parquet"]["started_at"] == "timestamp[ms, tz=UTC]"


def test_the_meta_file_says_what_each_feature_is(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    with_features: Callable[..., pa.Table],
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = with_features(make_interactions(6))
    meta = write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of)
    written = pq.read_table(tmp_path / "set" / "interactions.parquet")
    assert written.schema.equals(TRAINING_SCHEMA)
    assert meta["features"]["version"] == 1
    assert list(meta["features"]["definitions"]) == FEATURES_SCHEMA.names
    assert list(meta["schema"]["interactions.parquet"]) == TRAINING_SCHEMA.names
    with pytest.raises(KeyError, match="video_age_hours"):  # some of the features are none
        write_training_set(
            tmp_path / "set",
            rows.drop_columns(["video_age_hours"]),
            catalogue,
            met=make_met(rows),
            as_of=as_of,
        )


def test_the_pieces_that_rows_came_in_do_not_shape_the_bytes(
    tmp_path: Path, make_interactions: MakeInteractions, with_features: Callable[..., pa.Table]
) -> None:
    rows = with_features(make_interactions(5000, user_id=[f"u{i % 700}" for i in range(5000)]))
    wanted = None
    for number, size in enumerate([5000, 1, 999, 1000, 1001, 2500]):
        step = max(size, 7)
        pieces = [rows.slice(at, step) for at in range(0, 5000, step)]
        path = tmp_path / f"{number}.parquet"
        assert write_parquet(pieces, TRAINING_SCHEMA, path, row_group=1000) == 5000
        assert pq.read_metadata(path).num_row_groups == 5
        wanted = wanted or path.read_bytes()
        assert path.read_bytes() == wanted
    assert pq.read_table(tmp_path / "0.parquet").equals(rows)


def test_the_files_have_the_promised_columns_and_order(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    tied = make_interactions(
        4, started_at=[as_of - timedelta(hours=1)] * 4, session_id=["b", "a", "a", "a"], user_id=["u"] * 4
    )
    write_training_set(tmp_path / "set", tied, catalogue, met=make_met(tied), as_of=as_of)
    interactions = pq.read_table(tmp_path / "set" / "interactions.parquet")
    assert interactions.schema.equals(INTERACTIONS_SCHEMA)
    assert pq.read_table(tmp_path / "set" / "videos.parquet").schema.equals(VIDEOS_SCHEMA)
    met = pq.read_table(tmp_path / "set" / "watched.parquet")
    assert met.schema.equals(MET_SCHEMA)
    assert met["video_id"].to_pylist() == ["v0", "v1", "v2", "v3"]
    assert interactions["session_id"].to_pylist() == ["a", "a", "a", "b"]
    assert interactions["video_id"].to_pylist() == ["v1", "v2", "v3", "v0"]


def test_profiles_are_written_sorted_and_without_what_knows_the_future(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = make_interactions(6)
    people = pa.table(
        {
            "user_id": ["u2", "u1"],
            "age": pa.array([None, 31], pa.int16()),
            "gender": ["unknown", "female"],
            "language": ["", "zh"],
            "region": ["", "CN"],
            "device_type": ["ios", "android"],
            "engagement_score": [0.5, 0.7],
        }
    )
    write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), people=people, as_of=as_of)
    written = pq.read_table(tmp_path / "set" / "users.parquet")
    assert written.schema.equals(USERS_SCHEMA)
    assert written.to_pylist()[0] == {
        **{"user_id": "u1", "age": 31, "gender": "female"},
        **{"language": "zh", "region": "CN", "device_type": "android"},
    }
    assert written["age"].to_pylist() == [31, None]


def test_an_empty_set_is_refused_and_the_one_before_it_stays(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    met = make_met(make_interactions(6))
    write_training_set(tmp_path / "set", make_interactions(6), catalogue, met=met, as_of=as_of)
    before = fingerprints(tmp_path / "set")
    with pytest.raises(TrainingSetEmptyError) as error:
        write_training_set(tmp_path / "set", make_interactions(0), catalogue, met=met, as_of=as_of)
    assert str(error.value) == (
        "no interaction in the 90 days [2022-02-07T12:00:00.000Z, 2022-05-08T12:00:00.000Z)"
        " has watch_time_ratio > 0.1"
    )
    assert fingerprints(tmp_path / "set") == before


def test_a_value_that_does_not_fit_its_type_is_not_cut_to_fit(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = make_interactions(2)
    position = rows.schema.get_field_index("total_watch_time_ms")
    fractional = rows.set_column(position, "total_watch_time_ms", pa.array([0.5, 1.0]))
    with pytest.raises(pa.ArrowInvalid):
        write_training_set(tmp_path / "set", fractional, catalogue, met=make_met(rows), as_of=as_of)
    assert not (tmp_path / "set").exists()


def test_milliseconds_survive_the_way_to_the_store_and_back() -> None:
    # 0.999 s is not a float: timestamp() * 1000 cut to an integer loses a millisecond for such times.
    for millisecond in range(1000):
        moment = datetime(2022, 5, 8, 15, 59, 59, millisecond * 1000, tzinfo=UTC)
        assert from_epoch_ms(epoch_ms(moment)) == moment
    assert iso_ms(datetime(2022, 5, 8, 15, 59, 59, 999_000, tzinfo=UTC)) == "2022-05-08T15:59:59.999Z"
    with pytest.raises(ValueError, match="2022-05-08T00:00:00 names no time zone"):
        epoch_ms(datetime(2022, 5, 8))  # noqa: DTZ001


def test_a_window_is_written_as_a_half_open_interval(as_of: datetime) -> None:
    assert str(Window(as_of, 1)) == "[2022-05-07T12:00:00.000Z, 2022-05-08T12:00:00.000Z)"
