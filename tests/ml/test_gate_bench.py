"""The figures of the gate, small: calm on equal models, awake to a large gain."""

from ml.bench.gate import measure, noise_between_seeds


def test_equal_models_are_left_alone_and_a_large_gain_is_seen() -> None:
    said: list[str] = []
    found = measure(pairs=8, gains=(0.3,), platforms=1, users=1500, say=said.append)
    assert found["promoted"]["same"]["promoted"] <= 1
    assert found["promoted"]["30%"]["promoted"] >= 7
    assert found["targets"] == {"same": {"at most": 0.05, "kept": found["promoted"]["same"]["promoted"] == 0}}
    assert [line.split(":")[0] for line in said] == ["same", "30%"]


def test_the_noise_between_seeds_is_small_beside_a_gain_worth_having() -> None:
    assert noise_between_seeds(users=4000) < 0.01
