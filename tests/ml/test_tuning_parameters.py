"""The file of tuned parameters: a fragment of the settings, checked whenever it is read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.config import TrainConfig
from ml.errors import ConfigurationError
from ml.tuning_parameters import ensure, load, load_evidence, merged, save

FRAGMENT = {"svd": {"learning_rate": 0.01, "n_epochs": 12}, "two_tower": {"dropout": 0.25}}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "parameters", FRAGMENT, {"svd": {"trial": 3}})
    assert path == tmp_path / "parameters" / "parameters.json"
    assert load(path) == FRAGMENT
    assert load_evidence(path.parent) == {"svd": {"trial": 3}}
    assert TrainConfig.of(load(path)).svd.n_epochs == 12


def test_without_a_file_nothing_is_tuned(tmp_path: Path) -> None:
    assert load(None) == load(tmp_path / "parameters.json") == {}
    assert load_evidence(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "parameters.json: is not JSON"),
        ("[]", "parameters.json: must be an object of sections"),
        ('{"magic": {}}', "parameters.json: magic: must be one of svd"),
        ('{"seed": 3}', "parameters.json: seed: must be one of svd"),
        ('{"svd": 3}', "parameters.json: svd: must be an object"),
        ('{"svd": {"rate": 1}}', r"parameters.json: svd\.rate: Extra inputs"),
        (
            '{"svd": {"learning_rate": -1}}',
            r"parameters.json: svd\.learning_rate: Input should be greater than 0",
        ),
    ],
)
def test_a_file_that_cannot_be_trained_with_is_refused_by_name(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "parameters.json").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path / "parameters.json")


def test_parameters_that_cannot_work_leave_the_old_file(tmp_path: Path) -> None:
    path = save(tmp_path / "parameters", FRAGMENT, {})
    with pytest.raises(ConfigurationError):
        save(tmp_path / "parameters", {"svd": {"n_epochs": 0}}, {})
    assert load(path) == FRAGMENT
    assert [each.name for each in tmp_path.iterdir()] == ["parameters"]


def test_the_same_parameters_are_the_same_bytes(tmp_path: Path) -> None:
    first = save(tmp_path / "a", FRAGMENT, {}).read_bytes()
    other_order = {"two_tower": {"dropout": 0.25}, "svd": {"n_epochs": 12, "learning_rate": 0.01}}
    assert save(tmp_path / "b", other_order, {}).read_bytes() == first


def test_a_file_is_made_where_there_is_none_and_kept_where_there_is_one(tmp_path: Path) -> None:
    path = ensure(tmp_path / "parameters")
    assert load(path) == {}
    save(tmp_path / "parameters", FRAGMENT, {})
    assert load(ensure(tmp_path / "parameters")) == FRAGMENT


def test_what_the_operator_set_wins_field_by_field() -> None:
    assert merged(FRAGMENT, {"seed": 4, "two_tower": {"epochs": 3}, "svd": {"n_epochs": 1}}) == {
        "seed": 4,
        "svd": {"learning_rate": 0.01, "n_epochs": 1},
        "two_tower": {"dropout": 0.25, "epochs": 3},
    }


sections = st.dictionaries(
    st.sampled_from(["svd", "als"]), st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3)
)


@given(sections, sections)
def test_merging_loses_nothing_and_changes_neither(fragment: dict, over: dict) -> None:
    before = repr((fragment, over))
    result = merged(fragment, over)
    assert repr((fragment, over)) == before
    assert {(s, f) for s, own in result.items() for f in own} == {
        (s, f) for both in (fragment, over) for s, own in both.items() for f in own
    }
    assert all(result[s][f] == value for s, own in over.items() for f, value in own.items())
