"""From facts to tokens to vectors: against scikit-learn's own TF-IDF and SVD, on odd input, and back from files."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.content_config import ContentConfig, FieldWeights
from ml.content_encoder import ContentEncoder
from ml.content_sentences import SentenceEncoder, text_encoder_of
from ml.content_tokens import duration_bucket, text_of, tokens, words
from ml.dataset import Catalogue
from ml.errors import ConfigurationError, ModelFilesError

TITLES = ["red cat", "red dog", "blue cat", "blue dog sleeps", "green cat sleeps", "cat cat cat"]
FACTS = Catalogue.of([f"v{n}" for n in range(6)], titles=TITLES, creator_ids=["x", "y", "x", "y", "z", ""])
TEXT_ONLY = FieldWeights(creator=0)


class Letters:
    """A text encoder in 3 dimensions: how many a, b and c there are."""

    name, dim = "letters", 3

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray([[1 + t.count("a"), t.count("b"), t.count("c")] for t in texts], dtype=np.float32)


def test_words_are_lower_case_and_longer_than_a_character() -> None:
    assert list(words("The QUICK brown_fox, a 2nd one! ÜBER ﬁne")) == [
        "the", "quick", "brown", "fox", "2nd", "one", "über", "fine",
    ]  # fmt: skip


def test_scripts_without_spaces_become_pairs_of_characters() -> None:
    assert list(words("動画を見る")) == ["動画", "画を", "を見", "見る"]
    assert list(words("猫 vlog猫2024")) == ["猫", "猫", "vlog2024"]


def test_each_fact_is_a_token_of_its_own_field() -> None:
    facts = Catalogue.of(
        ["v"],
        titles=["Cat nap"],
        descriptions=["A cat."],
        tags=[["39", "cat", "39"]],
        creator_ids=["7349781"],
        categories=["39"],
        languages=["en"],
        durations_ms=[9_500],
    )
    assert dict(tokens(facts, 0)) == {
        "text:cat": 4,
        "text:nap": 3,
        "tag:39": 1,
        "tag:cat": 1,
        "creator:7349781": 1,
        "category:39": 1,
        "language:en": 1,
        "duration:6": 1,
    }
    assert text_of(facts, 0) == "Cat nap. 39, cat, 39. A cat."


def test_unknown_facts_are_no_tokens() -> None:
    assert tokens(Catalogue.of(["v"]), 0) == {}
    assert text_of(Catalogue.of(["v"]), 0) == ""


@pytest.mark.parametrize(
    ("duration_ms", "bucket"), [(1, 0), (1000, 0), (1500, 1), (6000, 4), (9000, 5), (60_000, 10)]
)
def test_durations_fall_into_steps_of_one_and_a_half(duration_ms: int, bucket: int) -> None:
    assert duration_bucket(duration_ms) == bucket


def test_vectors_are_those_of_scikit_learn_s_tf_idf_and_svd() -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    config = ContentConfig(dim=4, min_videos=1, weights=TEXT_ONLY)
    encoder = ContentEncoder.fit(FACTS, config)
    tripled = [f"{title} {title} {title}" for title in TITLES]  # a title's words count three times
    theirs = TfidfVectorizer(sublinear_tf=True)
    table = theirs.fit_transform(tripled)
    assert [f"text:{word}" for word in theirs.get_feature_names_out()] == encoder.vocabulary.tolist()
    np.testing.assert_allclose(encoder.idf, theirs.idf_, rtol=1e-6)
    svd = TruncatedSVD(4, algorithm="arpack").fit(table)
    vectors = svd.transform(table)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ours = encoder.encode(FACTS)
    np.testing.assert_allclose(ours @ ours.T, vectors @ vectors.T, atol=1e-4)  # signs are free


def test_the_largest_entry_of_a_component_is_positive() -> None:
    projection = ContentEncoder.fit(FACTS, ContentConfig(dim=3)).projection
    assert (projection[np.abs(projection).argmax(axis=0), np.arange(3)] > 0).all()


def test_the_centre_is_the_mean_of_all_videos_and_of_all_plays() -> None:
    plays = np.asarray([3.0, 0, 0, 0, 0, 1])
    for given_plays, counts in ((None, [1] * 6), (plays, [4, 1, 1, 1, 1, 2])):
        encoder = ContentEncoder.fit(FACTS, ContentConfig(dim=4), plays=given_plays)
        expected = np.average(encoder._uncentred(FACTS, np.arange(6)), axis=0, weights=counts)
        np.testing.assert_allclose(encoder.centre, expected, atol=1e-6)


def test_a_long_description_does_not_drown_the_creator() -> None:
    filler = " ".join(f"word{n}" for n in range(200))
    facts = Catalogue.of(
        ["a", "b", "c", "d"], descriptions=[filler, "", filler, ""], creator_ids=["x", "x", "y", "y"]
    )
    config = ContentConfig(dim=4, weights=FieldWeights(text=1, creator=1))
    vectors = ContentEncoder.fit(facts, config)._uncentred(facts, np.arange(4))
    assert vectors[0] @ vectors[2] == pytest.approx(0.5, abs=1e-3)  # the text is half of what is known


def test_more_dimensions_than_there_is_to_say_are_zeros() -> None:
    vectors = ContentEncoder.fit(FACTS, ContentConfig(dim=50)).encode(FACTS)
    assert vectors.shape == (6, 50)
    assert not vectors[:, 6:].any()


def test_rare_words_are_left_out_and_the_most_frequent_kept() -> None:
    weights = TEXT_ONLY
    often = ContentEncoder.fit(FACTS, ContentConfig(min_videos=3, weights=weights))
    assert often.vocabulary.tolist() == ["text:cat"]
    most = ContentEncoder.fit(FACTS, ContentConfig(max_words=3, weights=weights))
    assert most.vocabulary.tolist() == ["text:blue", "text:cat", "text:dog"]  # of equals the first by name


def test_a_sample_decides_the_components_and_all_are_encoded() -> None:
    encoder = ContentEncoder.fit(FACTS, ContentConfig(dim=2, fit_videos=4, min_videos=1))
    assert encoder.encode(FACTS).shape == (6, 2)
    again = ContentEncoder.fit(FACTS, ContentConfig(dim=2, fit_videos=4, min_videos=1))
    np.testing.assert_array_equal(encoder.projection, again.projection)


def test_unknown_words_alone_are_a_zero_vector() -> None:
    encoder = ContentEncoder.fit(FACTS, ContentConfig(dim=4))
    vectors = encoder.encode(Catalogue.of(["new", "odd", "old"], titles=["purple zebra", "", "red cat"]))
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("facts", [Catalogue.of([]), Catalogue.of(["a"]), Catalogue.of(["a", "b", "c"])])
def test_a_catalogue_that_says_nothing_has_zero_vectors(facts: Catalogue) -> None:
    vectors = ContentEncoder.fit(facts, ContentConfig(dim=4)).encode(facts)
    assert vectors.shape == (len(facts), 4)
    assert not vectors.any()


def test_videos_that_are_all_the_same_are_not_told_apart_by_rounding() -> None:
    facts = Catalogue.of(["a", "b", "c"], titles=["one and the same"] * 3)
    assert not ContentEncoder.fit(facts, ContentConfig(dim=4)).encode(facts).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.lists(st.text(max_size=80), max_size=3)), max_size=8))
def test_any_text_gives_vectors_of_length_one_or_zero(facts: list[tuple[str, list[str]]]) -> None:
    catalogue = Catalogue.of(
        [str(n) for n in range(len(facts))], titles=[t for t, _ in facts], tags=[tags for _, tags in facts]
    )
    vectors = ContentEncoder.fit(catalogue, ContentConfig(dim=3, min_videos=1)).encode(catalogue)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.isfinite(vectors).all()
    assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()


# --- files ----------------------------------------------------------------------------------------------------


def test_a_loaded_encoder_encodes_as_before(tmp_path: Path) -> None:
    encoder = ContentEncoder.fit(FACTS, ContentConfig(dim=4))
    encoder.save(tmp_path / "encoder.npz")
    loaded = ContentEncoder.load(tmp_path / "encoder.npz")
    new = Catalogue.of(["new"], titles=["a green dog"], creator_ids=["x"])
    np.testing.assert_array_equal(loaded.encode(new), encoder.encode(new))
    assert loaded.field_weights == encoder.field_weights


def test_a_damaged_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.npz"
    encoder = ContentEncoder.fit(FACTS, ContentConfig(dim=4))
    encoder.save(path)
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(ModelFilesError, match="not a saved content encoder"):
            ContentEncoder.load(path)
    for name, value in (
        ("idf", encoder.idf[:-1]),
        ("idf", encoder.idf * np.nan),
        ("projection", encoder.projection[:-1]),
        ("centre", encoder.centre[:-1]),
        ("vocabulary", encoder.vocabulary[::-1]),
    ):
        np.savez(path, allow_pickle=False, **{**encoder.arrays(), name: value})
        with pytest.raises(ModelFilesError, match=name):
            ContentEncoder.load(path)
    np.savez(path, allow_pickle=False, **{**encoder.arrays(), "about": np.asarray(json.dumps({"format": 9}))})
    with pytest.raises(ModelFilesError, match="format 9, this code reads 1"):
        ContentEncoder.load(path)


# --- a text encoder in the place of LSA -----------------------------------------------------------------------


def test_the_text_encoder_s_vector_stands_before_that_of_the_metadata() -> None:
    facts = Catalogue.of(["v", "w", "x"], titles=["bb", "cc", ""], creator_ids=["k", "k", "k"])
    encoder = ContentEncoder.fit(facts, ContentConfig(dim=2), Letters())
    assert encoder.vocabulary.tolist() == ["creator:k"]
    assert encoder.dim == 3 + 2
    metadata = np.linalg.norm([1, 0.5, 1, 0.25, 0.25])
    text, rest = 1 / np.hypot(1, metadata), metadata / np.hypot(1, metadata)
    uncentred = encoder._uncentred(facts, np.arange(3))
    expected = [
        [text / np.sqrt(5), 2 * text / np.sqrt(5), 0, rest, 0],
        [text / np.sqrt(5), 0, 2 * text / np.sqrt(5), rest, 0],
        [0, 0, 0, 1, 0],  # an empty text says nothing, whatever the encoder makes of it
    ]
    np.testing.assert_allclose(uncentred, expected, atol=1e-6)


def test_an_encoder_fitted_with_a_text_encoder_needs_the_same_one(tmp_path: Path) -> None:
    encoder = ContentEncoder.fit(FACTS, ContentConfig(dim=2), Letters())
    encoder.save(tmp_path / "e.npz")
    again = ContentEncoder.load(tmp_path / "e.npz", Letters())
    np.testing.assert_array_equal(again.encode(FACTS), encoder.encode(FACTS))
    with pytest.raises(ConfigurationError, match=r"fitted with text encoder .*letters.*, given None"):
        ContentEncoder.load(tmp_path / "e.npz")


def test_without_a_path_there_is_no_sentence_encoder() -> None:
    assert text_encoder_of(ContentConfig()) is None


def test_a_sentence_encoder_without_its_package_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigurationError, match="needs the package sentence-transformers"):
        SentenceEncoder(tmp_path)
