"""The simulated world: the same for ever, untidy as real traffic, and with tastes a model can learn."""

import hashlib
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_quality.contract_checks import check_batch, require_valid
from data_quality.contracts import EVENTS, USERS, VIDEOS
from ingestion.simulator import WORLD_VERSION, Simulator
from ingestion.simulator_world import CATEGORIES, END_MS


@lru_cache(maxsize=1)
def world() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Stored events (each id once, valid), users, videos of the demo's world."""
    simulator = Simulator()
    batches = [check_batch(EVENTS, batch).valid for batch in simulator.events()]
    events = pa.Table.from_batches(batches).to_pandas().drop_duplicates("event_id")
    return events, simulator.users().to_pandas(), simulator.videos().to_pandas()


def sessions() -> pd.DataFrame:
    events, _, videos = world()
    key = ["session_id", "user_id", "video_id"]
    at = events.set_index(key).impression_timestamp
    kind = events.set_index(key).event_type
    frame = pd.DataFrame({"first": at.groupby(level=key).min(), "last": at.groupby(level=key).max()})
    frame["started"] = at[kind == "view_start"]
    frame = frame.reset_index().merge(videos, on="video_id")
    watched = (frame["last"] - frame.started).dt.total_seconds().fillna(0) * 1000
    frame["ratio"] = watched / frame.duration_ms
    return frame


def test_the_world_is_the_one_of_its_version() -> None:
    simulator = Simulator(scale=0.05)
    digest = hashlib.sha256()
    for table in (simulator.users(), simulator.videos(), pa.Table.from_batches(simulator.events())):
        digest.update(repr(table.to_pylist()).encode())
    # Another digest is another world: raise WORLD_VERSION, so that homes with the old one load it anew.
    assert (WORLD_VERSION, digest.hexdigest()[:16]) == (1, "974b04ef0bd88f20")


def test_the_demo_has_about_300_000_events_of_a_few_days() -> None:
    events, users, videos = world()
    assert 280_000 <= len(events) <= 320_000
    assert (len(users), len(videos)) == (2000, 1600)
    end = pd.Timestamp(END_MS, unit="ms", tz="UTC")
    assert events.impression_timestamp.max() <= end
    assert end - events.impression_timestamp.min() <= pd.Timedelta(days=6)


def test_every_kind_of_event_happens() -> None:
    counts = world()[0].event_type.value_counts()
    assert set(counts.index) == {
        "view_start", "view_end", "scroll_pass", "like", "comment", "share", "follow_creator", "save", "report",
        "pause", "resume", "seek", "replay", "click",
    }  # fmt: skip
    assert counts["pause"] == pytest.approx(counts["resume"], abs=5)
    assert counts["view_start"] > counts["view_end"] > counts["like"] > counts["share"]


def test_some_events_come_twice_late_out_of_order_or_broken() -> None:
    simulator = Simulator()
    batches = list(simulator.events())
    assert max(batch.num_rows for batch in batches) <= 100_000
    rejected = [bad for batch in batches for bad in check_batch(EVENTS, batch).rejected]
    assert {bad.field for bad in rejected} == {"user_id", "position_index", "impression_timestamp"}
    sent = sum(batch.num_rows for batch in batches)
    assert 10 <= len(rejected) <= sent / 5000
    valid = pa.Table.from_batches([check_batch(EVENTS, batch).valid for batch in batches])
    repeated = valid.num_rows - len(valid["event_id"].unique())
    assert 0.002 < repeated / sent < 0.004
    late = valid["impression_timestamp"].cast(pa.int64()).to_numpy()
    behind = np.maximum.accumulate(late) - late
    assert 0.005 < (behind > 60_000).mean() < 0.03
    assert simulator.rows_read == sent == simulator.notes()["events"]


def test_events_happen_inside_their_sessions_and_after_the_upload() -> None:
    events, users, videos = world()
    frame = events.merge(videos[["video_id", "duration_ms", "upload_time"]], on="video_id")
    assert len(frame) == len(events)
    assert set(events.user_id) <= set(users.user_id)
    assert (frame.playback_position_ms <= frame.duration_ms).all()
    assert (frame.impression_timestamp >= frame.upload_time).all()
    kinds = (
        events.sort_values("impression_timestamp", kind="stable")
        .groupby(["session_id", "video_id"])
        .event_type
    )
    assert set(kinds.first()) <= {"view_start", "scroll_pass"}


def test_users_and_videos_keep_the_contract_and_read_like_a_persons_words() -> None:
    simulator = Simulator(scale=0.1)
    users = require_valid(USERS, simulator.users(), "user_id").to_pandas()
    videos = require_valid(VIDEOS, simulator.videos(), "video_id").to_pandas()
    assert set(videos.category) <= set(CATEGORIES)
    assert videos.title.str.fullmatch(r"[A-Z0-9][^{}]{8,70}").all()
    assert (videos.tags.str.len() == 3).all()
    assert set(users.interested_categories.explode()) <= set(CATEGORIES)
    assert set(users.preferred_creators.explode()) >= set(users.preferred_creators.str[0])


def test_popularity_is_skewed_and_new_videos_keep_coming() -> None:
    events, _, videos = world()
    views = events[events.event_type == "view_start"].video_id.value_counts()
    assert 0.25 < views.head(160).sum() / views.sum() < 0.6
    start = pd.Timestamp(END_MS, unit="ms", tz="UTC") - pd.Timedelta(days=5)
    new = set(videos[videos.upload_time > start].video_id)
    assert 0.15 < len(new) / len(videos) < 0.25
    assert views[views.index.isin(new)].sum() / views.sum() > 0.05


def test_a_personalised_model_beats_popularity_clearly_on_a_later_test_set() -> None:
    frame = sessions()
    cut = frame["first"].quantile(0.8)
    users, videos = pd.Index(frame.user_id.unique()), pd.Index(frame.video_id.unique())

    def matrix(rows: pd.DataFrame) -> np.ndarray:
        made = np.zeros((len(users), len(videos)), np.float32)
        made[users.get_indexer(rows.user_id), videos.get_indexer(rows.video_id)] = 1
        return made

    before, after = frame[frame["first"] < cut], frame[frame["first"] >= cut]
    met, liked = matrix(before), matrix(before[before.ratio >= 0.7])
    test = matrix(after[after.ratio >= 0.7]) * (1 - met)

    def precision_at_10(scores: np.ndarray) -> float:
        top = np.argsort(-np.where(met > 0, -np.inf, scores), axis=1)[:, :10]
        return float(np.take_along_axis(test, top, 1)[test.sum(axis=1) > 0].sum(axis=1).mean() / 10)

    popular = precision_at_10(np.tile(liked.sum(axis=0), (len(users), 1)))
    length = np.sqrt(np.maximum(liked.sum(axis=0), 1))
    similar = (liked.T @ liked) / length[:, None] / length[None, :]  # item-based, by cosine
    np.fill_diagonal(similar, 0)
    personal = precision_at_10(liked @ similar)
    assert personal > 2 * popular > 0


def test_scale_grows_the_world_and_changes_the_fingerprint() -> None:
    small, demo = Simulator(scale=0.1), Simulator()
    assert small.rows_read == pytest.approx(demo.rows_read / 12, rel=0.2)
    assert Simulator().fingerprint() == demo.fingerprint()
    assert len({small.fingerprint(), demo.fingerprint(), Simulator(days=3).fingerprint()}) == 3


@pytest.mark.parametrize(("scale", "days"), [(0, 5), (-1, 5), (1, 0)])
def test_a_world_of_nothing_is_refused(scale: float, days: int) -> None:
    with pytest.raises(ValueError, match="scale must be above 0 and days at least 1"):
        Simulator(scale=scale, days=days)
