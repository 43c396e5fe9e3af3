"""Bundles: what is packed comes back, and whatever is wrong with one is named."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving import bundle
from serving.catalogue import NO_CREATOR, Catalogue, stream_url
from serving.errors import BundleInputError, BundleMissingError, CorruptBundleError, IncompatibleBundleError
from serving.watched import Watched

from .conftest import tiny_model, tiny_pack, tiny_videos
from .pipeline.made import model_of, names, popularity_of


def test_a_loaded_bundle_holds_what_was_packed(packed):
    folder = packed("a", watched={"ann": ["v0", "v3", "v0", "gone"], "zoe": ["v5"]})
    loaded = bundle.load(folder)

    assert sorted(loaded.models) == ["popularity", "svd", "two-tower"]
    np.testing.assert_array_equal(loaded.models["svd"].video_factors, tiny_model("svd").video_factors)
    assert loaded.catalogue.video_ids.tolist() == ["v0", "v1", "v2", "v3", "v4", "v5"]
    assert loaded.watched.of("ann").tolist() == [0, 3]
    assert loaded.watched.of("zoe").tolist() == [5]
    assert loaded.watched.of("nobody").tolist() == []
    assert loaded.watched.of("x" * 5000).tolist() == []
    assert pq.read_table(folder / "videos.parquet").equals(tiny_videos())


def test_the_record_says_how_the_bundle_was_made(packed):
    record = bundle.read_record(packed("a"))

    assert record.schema_version == 2
    assert record.champion == "svd"
    assert {k: (m.version, m.run_id, m.metrics) for k, m in record.models.items()} == {
        "svd": (1, "run-svd", {"ndcg": 0.5}),
        "two-tower": (2, "run-two-tower", {"ndcg": 0.5}),
        "popularity": (None, "run-popularity", {"ndcg": 0.5}),
    }
    assert record.training_set == {"version": "abc.dir", "window_days": 90, "rows": 10}
    assert record.dagster_run_id == "dagster-1"
    assert record.counts == {"videos": 6, "users": 2, "users_with_history": 1, "watched": 1}
    assert record.code.package == "0.1.0"
    assert len(record.code.sha256) == 64
    assert sorted(record.files) == [
        "cards.bin",
        "catalogue.npz",
        *(f"models/{kind}/{name}" for kind in sorted(record.models) for name in ("arrays.npz", "model.json")),
        "videos.parquet",
        "watched.npz",
    ]


def test_the_same_content_has_the_same_id_and_other_content_another(packed):
    first = bundle.read_record(packed("a"))
    again = bundle.read_record(packed("b"))
    others = {
        bundle.read_record(packed("c", champion="two-tower")).bundle_id,
        bundle.read_record(packed("d", watched={"ann": ["v1"]})).bundle_id,
        bundle.read_record(packed("e", version=7)).bundle_id,
        bundle.read_record(packed("f", videos=7)).bundle_id,
    }
    assert again.bundle_id == first.bundle_id
    assert again.files == first.files
    assert len(others | {first.bundle_id}) == 5


def test_a_card_is_the_videos_json_without_its_braces(packed):
    catalogue = bundle.load(packed("a")).catalogue
    assert json.loads(b"{" + catalogue.card(3) + b"}") == {
        "video_id": "v3",
        "title": "Title 3",
        "description": "text",
        "category": "cats",
        "tags": ["fun", "pets"],
        "creator_id": "c1",
        "duration_ms": 240_000,
        "thumbnail_url": "/thumbnails/3.jpg",
        "stream_url": "/api/v1/videos/v3/stream",
    }
    last = json.loads(b"{" + catalogue.card(5) + b"}")
    assert (last["duration_ms"], last["category"], last["tags"]) == (None, None, [])
    assert catalogue.durations_s.tolist() == [60, 120, 180, 240, 300, 60]  # unknown: a minute
    assert stream_url("a/b ?") == "/api/v1/videos/a%2Fb%20%3F/stream"


def test_shared_tags_are_counted_for_every_video(packed):
    catalogue = bundle.load(packed("a")).catalogue
    assert catalogue.shared_tags(0).tolist() == [2, 0, 1, 2, 0, 0]
    assert catalogue.shared_tags(5).tolist() == [0] * 6


def test_videos_come_in_the_order_of_their_ids_whatever_the_table_says(tmp_path):
    from serving.catalogue import write

    write(tmp_path, tiny_videos().take([4, 2, 0, 5, 1, 3]))
    assert Catalogue.load(tmp_path).video_ids.tolist() == ["v0", "v1", "v2", "v3", "v4", "v5"]


def test_an_empty_history_is_no_trouble():
    empty = pa.table({"user_id": pa.array([], pa.string()), "video_id": pa.array([], pa.string())})
    assert Watched.from_table(empty, np.array(["v0"])).of("ann").tolist() == []


@pytest.mark.parametrize(
    "victim", ["cards.bin", "watched.npz", "models/svd/arrays.npz", "models/svd/model.json"]
)
def test_a_damaged_file_is_named(packed, victim):
    folder = packed("a")
    content = bytearray((folder / victim).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / victim).write_bytes(content)
    with pytest.raises(CorruptBundleError, match=f"{victim} is damaged"):
        bundle.load(folder)


def test_a_missing_file_is_named(packed):
    folder = packed("a")
    (folder / "catalogue.npz").unlink()
    with pytest.raises(CorruptBundleError, match=r"catalogue\.npz is missing"):
        bundle.load(folder)


def test_a_file_that_no_sum_stands_for_is_named_but_a_volumes_own_may_be_there(packed):
    folder = packed("a")
    (folder / ".nfs000001").write_bytes(b"of a file that was deleted while it was read")
    assert bundle.verify(folder).champion == "svd"
    record = json.loads((folder / "bundle.json").read_text())
    del record["files"]["models/svd/arrays.npz"]
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(CorruptBundleError, match=r"models/svd/arrays\.npz is not in its record"):
        bundle.verify(folder)


def rewrite(folder: Path, **changes: object) -> None:
    record = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**record, **changes}))


def test_a_bundle_of_another_format_is_incompatible(packed):
    folder = packed("a")
    rewrite(folder, schema_version=3)
    with pytest.raises(IncompatibleBundleError, match="schema_version 3, this code reads 1 and 2"):
        bundle.load(folder)


def test_a_bundle_of_before_there_were_creators_is_still_read(packed):
    folder = packed("a")
    with np.load(folder / "catalogue.npz") as arrays:
        old = {name: arrays[name] for name in arrays.files if name != "creators"}
    np.savez(folder / "catalogue.npz", **old)
    files = json.loads((folder / "bundle.json").read_text())["files"]
    files["catalogue.npz"] = bundle._checksum(folder / "catalogue.npz").model_dump()
    rewrite(folder, schema_version=1, files=files)
    loaded = bundle.load(folder)
    assert loaded.catalogue.creators.tolist() == [NO_CREATOR] * 6
    assert loaded.indexes == {}


def test_creators_and_categories_are_codes_of_sorted_names(packed):
    catalogue = bundle.load(packed("a")).catalogue
    assert catalogue.creators.tolist() == [0, 1, 0, 1, 0, 1]
    assert catalogue.categories.tolist() == [1, 1, 0, 0, -1, -1]


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A bundle of 64 videos, which counts as large here."""
    monkeypatch.setattr("serving.pipeline.ann.FROM_VIDEOS", 64)
    monkeypatch.setattr("serving.pipeline.ann.AT", 2)
    ids = names(64)
    around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    positions = {video: (np.cos(angle), np.sin(angle)) for video, angle in zip(ids, around, strict=True)}
    models = {"svd": model_of("svd", {"ann": (1.0, 0.0)}, positions), "popularity": popularity_of(ids)}
    for kind, model in models.items():
        model.save(tmp_path / f"large-{kind}")
    videos = tiny_videos().take([0] * 64).set_column(0, "video_id", pa.array(ids))
    packed = {kind: bundle.ModelToPack(tmp_path / f"large-{kind}") for kind in models}
    return pack_with(tmp_path, models=packed, videos=videos), tmp_path / "out"


def test_a_large_catalogue_is_packed_with_an_index_of_every_model_with_factors(large):
    record, folder = large
    assert {path.parent.name for path in folder.glob("indexes/*/index.faiss")} == {
        "svd"
    }  # trending is a list
    assert {"indexes/svd/index.faiss", "indexes/svd/index.json"} <= set(record.files)
    loaded = bundle.load(folder)
    columns, values = loaded.indexes["svd"].search(np.array([np.cos(0.02), np.sin(0.02)], np.float32), 2)
    assert columns.tolist() == [0, 1]
    np.testing.assert_allclose(values, [np.cos(0.02), np.cos(2 * np.pi / 64 - 0.02)], atol=1e-6)


def test_a_damaged_index_is_named(large):
    record, folder = large
    (folder / "indexes" / "svd" / "index.faiss").write_bytes(b"no index")
    with pytest.raises(CorruptBundleError, match=r"indexes/svd/index\.faiss is damaged"):
        bundle.load(folder)
    files = {name: file.model_dump() for name, file in record.files.items()}
    files["indexes/svd/index.faiss"] = bundle._checksum(folder / "indexes/svd/index.faiss").model_dump()
    rewrite(folder, files=files)
    with pytest.raises(CorruptBundleError, match=r"index\.faiss"):
        bundle.load(folder)


def test_a_broken_record_is_named(packed, tmp_path):
    folder = packed("a")
    with pytest.raises(BundleMissingError, match=r"bundle\.json is not there"):
        bundle.load(tmp_path / "nowhere")
    rewrite(folder, champion="als")
    with pytest.raises(CorruptBundleError, match="the als model is not in the record"):
        bundle.load(folder)
    rewrite(folder, champion=None)
    with pytest.raises(CorruptBundleError, match="champion: Input should be a valid string"):
        bundle.load(folder)
    (folder / "bundle.json").write_text("{")
    with pytest.raises(CorruptBundleError, match="cannot be read"):
        bundle.load(folder)
    (folder / "bundle.json").write_text("[]")
    with pytest.raises(IncompatibleBundleError):
        bundle.load(folder)


def test_files_that_do_not_fit_each_other_are_refused_even_with_right_checksums(packed):
    folder = packed("a")
    (folder / "cards.bin").write_bytes(b"short")
    files = json.loads((folder / "bundle.json").read_text())["files"]
    files["cards.bin"] = bundle._checksum(folder / "cards.bin").model_dump()
    rewrite(folder, files=files)
    with pytest.raises(CorruptBundleError, match=r"cards\.bin is 5 bytes long"):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"champion": "als"}, "the als model is not among those to pack"),
        ({"kinds": ("svd",)}, "the popularity model is not among those to pack: svd"),
        ({"kinds": ("svd", "popularity"), "champion": "two-tower"}, "the two-tower model is not among"),
    ],
)
def test_a_bundle_that_could_not_serve_is_not_packed(tmp_path, options, message):
    with pytest.raises(BundleInputError, match=message):
        tiny_pack(tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


def pack_with(tmp_path, **changes):
    for kind in ("svd", "popularity"):
        tiny_model(kind).save(tmp_path / kind)
    inputs = {
        "champion": "svd",
        "models": {kind: bundle.ModelToPack(tmp_path / kind) for kind in ("svd", "popularity")},
        "videos": tiny_videos(),
        "watched": pa.table({"user_id": ["ann"], "video_id": ["v0"]}),
        "training_set": {},
    }
    return bundle.pack(tmp_path / "out", **{**inputs, **changes})


def test_bad_input_is_named_and_leaves_the_old_bundle(tmp_path):
    kept = pack_with(tmp_path)
    twice = pa.concat_tables([tiny_videos(), tiny_videos().slice(2, 1)])
    mislabelled = {
        "svd": bundle.ModelToPack(tmp_path / "popularity"),
        "popularity": bundle.ModelToPack(tmp_path / "svd"),
    }
    for changes, message in [
        ({"videos": tiny_videos().drop(["tags", "title"])}, "videos: lacks column title, tags"),
        ({"videos": tiny_videos().slice(0, 0)}, "videos: the table is empty"),
        ({"videos": twice}, "video_id 'v2' appears more than once"),
        ({"watched": pa.table({"user_id": ["ann"]})}, "watched: lacks column video_id"),
        ({"models": mislabelled}, "the model packed as popularity is a svd model"),
        ({"models": {"bpr": bundle.ModelToPack(tmp_path)}}, "unknown kind of model: bpr"),
    ]:
        with pytest.raises(BundleInputError, match=message):
            pack_with(tmp_path, **changes)
    assert bundle.load(tmp_path / "out").record == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out",
        "popularity",
        "svd",
    ]  # nothing half-made beside it


def test_videos_may_come_as_a_file(tmp_path):
    pq.write_table(tiny_videos(), tmp_path / "videos.parquet")
    assert pack_with(tmp_path, videos=tmp_path / "videos.parquet").counts["videos"] == 6
