"""A declaration that cannot be right is refused with the file, the experiment and the field."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.experiments.declaration import parse_declaration, read_declaration
from serving.experiments.errors import ExperimentsFileError

from .declared import declared, experiment, plain, text

HALVES = [{"name": "today", "share": 0.5}, {"name": "more", "share": 0.5}]


def test_a_file_says_all_there_is_to_say(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text("""
experiments:
  - id: diversity
    description: Does more variety keep people longer?
    status: running
    salt: second-try
    start: 2026-11-01T00:00:00Z
    end: 2026-12-01T00:00:00+01:00
    traffic: 0.2
    group: ranking
    slot: [0.5, 1]
    control: today
    observe_days: 7
    variants:
      - {name: today, share: 0.9}
      - {name: more, share: 0.1, parameters: {diversity: 0.4, model: svd}}
""")
    [found] = read_declaration(path).experiments
    assert (found.hash_salt, found.traffic, found.slot, found.observe_days) == (
        "second-try",
        0.2,
        (0.5, 1.0),
        7,
    )
    assert found.end == datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert found.variants[1].parameters == {"diversity": 0.4, "model": "svd"}
    assert found.changes == {"diversity", "model"}


@pytest.mark.parametrize("empty", ["", "experiments: []", "# none yet"])
def test_a_file_may_declare_nothing(empty: str) -> None:
    assert parse_declaration(empty, "experiments.yaml").experiments == ()


def test_there_need_be_no_file(tmp_path: Path) -> None:
    assert read_declaration(tmp_path / "experiments.yaml").experiments == ()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"colour": "red"}, "experiment diversity: colour: Extra inputs are not permitted"),
        ({"control": "none"}, "experiment diversity: control: none is none of the variants today, more"),
        ({"traffic": 1.5}, "experiment diversity: traffic: Input should be less than or equal to 1"),
        ({"status": "on"}, "experiment diversity: status: Input should be 'running', 'paused' or 'ended'"),
        ({"start": "2026-11-01T00:00:00"}, "experiment diversity: start: Input should have timezone info"),
        (
            {"start": "2026-11-02T00:00:00Z", "end": "2026-11-01T00:00:00Z"},
            "experiment diversity: end: must be after start",
        ),
        ({"group": "ranking"}, "experiment diversity: slot: an experiment of a group says which part"),
        ({"slot": [0, 1]}, "experiment diversity: slot: an experiment of a group says which part"),
        ({"group": "g", "slot": [0.5, 0.5]}, "experiment diversity: slot: must be from < to within 0 and 1"),
        (
            {"variants": [HALVES[0], {"name": "more", "share": 0.4}]},
            "experiment diversity: variants: their shares sum to 0.9, not to 1",
        ),
        ({"variants": [HALVES[0], HALVES[0]]}, "experiment diversity: variants: today is there twice"),
        (
            {"variants": [HALVES[0], {**HALVES[1], "parameters": {"diversity": 7}}]},
            "experiment diversity: variants.1.parameters: diversity: Input should be less than or equal to 1",
        ),
        (
            {"variants": [HALVES[0], {**HALVES[1], "parameters": {"volume": 1}}]},
            "experiment diversity: variants.1.parameters: volume: Extra inputs are not permitted",
        ),
    ],
)
def test_an_error_names_the_file_the_experiment_and_the_field(wrong: dict, told: str) -> None:
    with pytest.raises(ExperimentsFileError) as caught:
        declared(experiment(**wrong))
    assert f"experiments.yaml: {told}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("experiments: [", "experiments.yaml: is not YAML at line 1"),
        ("experiments: 3", "experiments.yaml: experiments: Input should be a valid tuple"),
        ("- a", "experiments.yaml: Input should be a valid dictionary"),
        ("experiments: [{}]", "experiments.yaml: experiment number 1: id: Field required"),
        ("experiments: [{start: 2026-99-99T00:00:00Z}]", "experiments.yaml: is not YAML"),
    ],
)
def test_what_is_no_declaration_is_told(content: str, told: str) -> None:
    with pytest.raises(ExperimentsFileError) as caught:
        parse_declaration(content, "experiments.yaml")
    assert told in str(caught.value)


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExperimentsFileError, match=r"experiments\.yaml: cannot be read: UnicodeDecodeError"):
        read_declaration(path)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (experiment("diversity"), "experiment diversity: id: is there twice"),
        (plain("other", 0.5, 0.5, salt="diversity"), "experiment other: salt: is that of diversity"),
        (experiment("other"), "experiment other: variants: diversity changes diversity too"),
    ],
)
def test_experiments_must_not_disturb_each_other(second: dict, told: str) -> None:
    with pytest.raises(ExperimentsFileError) as caught:
        declared(experiment("diversity"), second)
    assert told in str(caught.value)


def test_slots_of_one_group_must_not_overlap() -> None:
    first = experiment("one", group="g", slot=[0, 0.6])
    with pytest.raises(ExperimentsFileError, match="experiment two: slot: overlaps that of one in group g"):
        declared(first, experiment("two", group="g", slot=[0.5, 1]))


@pytest.mark.parametrize(
    "second",
    [
        experiment("two", group="g", slot=[0.6, 1]),
        experiment("two", group="g", slot=[0, 1], status="ended"),
        experiment("two", group="g", slot=[0, 1], start="2026-12-01T00:00:00Z"),
    ],
)
def test_the_same_parameter_may_be_tried_on_other_users_or_at_another_time(second: dict) -> None:
    first = experiment("one", group="g", slot=[0, 0.6], end="2026-12-01T00:00:00Z")
    assert len(declared(first, second).experiments) == 2


def test_what_is_written_is_what_is_read() -> None:
    once = declared(experiment(), plain("session", 0.2, 0.3, 0.5, traffic=0.5))
    again = declared(*[e.model_dump(mode="json", exclude_none=True) for e in once.experiments])
    assert again == once
    assert "diversity" in text(experiment())
