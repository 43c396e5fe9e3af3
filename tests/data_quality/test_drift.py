import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_quality.drift import (
    MAX_CATEGORIES,
    ColumnDrift,
    ColumnsDifferError,
    DriftResult,
    NotEnoughDataError,
    drift_report,
)

LOG_2 = math.sqrt(math.log(2))  # the Jensen-Shannon distance of distributions that share nothing


def compare(reference: pd.DataFrame, current: pd.DataFrame, path: Path, **arguments: float) -> DriftResult:
    arguments = {"min_rows": 1, **arguments}
    return drift_report(reference, current, path / "drift.html", **arguments)  # type: ignore[arg-type]


def statistics(result: DriftResult) -> dict[str, float]:
    return {column.name: column.statistic for column in result.columns}


def test_a_shift_is_measured_in_deviations_of_the_reference(tmp_path: Path) -> None:
    # Reference 0 and 2 in halves: deviation 1. All of current at 2: half of the mass moved by 2, distance 1.
    reference = pd.DataFrame({"x": [0.0, 2.0] * 50})
    result = compare(reference, pd.DataFrame({"x": [2.0] * 80}), tmp_path)
    assert result.columns == (ColumnDrift("x", "number", "wasserstein", 1.0, 0.1, True),)
    assert (result.drifted, result.share, result.reference_rows, result.current_rows) == (True, 1.0, 100, 80)


def test_categories_are_compared_by_their_shares(tmp_path: Path) -> None:
    reference = pd.DataFrame({"same": ["a", "b"] * 50, "gone": ["a"] * 100, "half": ["a"] * 100})
    current = pd.DataFrame({"same": ["a", "b"] * 30, "gone": ["b"] * 60, "half": ["a", "b"] * 30})
    found = statistics(compare(reference, current, tmp_path))
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): half of each divergence from m
    half = math.sqrt(0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2)))
    assert found == pytest.approx({"same": 0.0, "gone": LOG_2, "half": half}, abs=1e-12)


def test_booleans_and_missing_values_are_categories(tmp_path: Path) -> None:
    reference = pd.DataFrame({"flag": [True, False] * 50, "text": ["a", "b"] * 50})
    current = pd.DataFrame({"flag": [True, False] * 50, "text": ["a", None] * 50})
    columns = compare(reference, current, tmp_path).columns
    assert [(column.name, column.kind, column.drifted) for column in columns] == [
        ("flag", "category", False),
        ("text", "category", True),
    ]


def test_it_has_drifted_when_the_share_of_columns_is_reached(tmp_path: Path) -> None:
    reference = pd.DataFrame({"a": [0.0, 2.0] * 50, "b": ["x"] * 100, "c": [0.0, 2.0] * 50, "d": ["x"] * 100})
    current = reference.assign(a=5.0)
    one_of_four = compare(reference, current, tmp_path, share_threshold=0.25)
    assert (one_of_four.share, one_of_four.drifted) == (0.25, True)
    assert not compare(reference, current, tmp_path, share_threshold=0.26).drifted


def test_rare_categories_are_pooled_and_the_pool_is_the_same_each_time(tmp_path: Path) -> None:
    common = [f"c{i:02}" for i in range(MAX_CATEGORIES)]
    reference = pd.DataFrame({"category": common * 10 + ["rare 1"] * 5})
    renamed = pd.DataFrame({"category": common * 10 + ["never seen"] * 5})
    assert statistics(compare(reference, renamed, tmp_path)) == {"category": 0.0}


def test_two_samples_of_the_same_behaviour_do_not_drift_at_the_smallest_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def sample(rows: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "ratio": np.minimum(rng.exponential(0.6, rows), 2.0),
                "hour": rng.integers(0, 24, rows).astype(str),
                "category": rng.choice([f"c{i}" for i in range(200)], rows),
            }
        )

    result = drift_report(sample(20_000), sample(1_000), tmp_path / "drift.html")
    assert result.share == 0.0


def test_more_rows_than_the_bound_are_sampled_the_same_way_each_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reference, current = (pd.DataFrame({"x": rng.normal(mean, 1, 5_000)}) for mean in (0, 0.5))
    first = compare(reference, current, tmp_path, max_rows=500)
    assert first.reference_rows == first.current_rows == 500
    assert compare(reference, current, tmp_path, max_rows=500) == first
    assert len(reference) == 5_000  # the caller's data is left alone


@pytest.mark.parametrize("side", ["reference", "current"])
def test_too_few_rows_are_refused_by_side(tmp_path: Path, side: str) -> None:
    frames = {"reference": pd.DataFrame({"x": [1.0] * 10}), "current": pd.DataFrame({"x": [1.0] * 10})}
    frames[side] = frames[side].head(0)
    message = f"the {side} data has 0 rows, at least 1 are needed"
    with pytest.raises(NotEnoughDataError, match=message):
        compare(frames["reference"], frames["current"], tmp_path)
    with pytest.raises(NotEnoughDataError, match="at least 1000"):
        drift_report(frames["reference"], frames["current"], tmp_path / "drift.html")
    assert list(tmp_path.iterdir()) == []


def test_a_column_without_a_value_and_no_columns_at_all_are_refused(tmp_path: Path) -> None:
    empty = pd.DataFrame({"x": [1.0, 2.0], "y": [None, None]})
    with pytest.raises(NotEnoughDataError, match="the reference data has no value in column y"):
        compare(empty, empty, tmp_path)
    nothing = pd.DataFrame(index=range(3))
    with pytest.raises(NotEnoughDataError, match="no columns"):
        compare(nothing, nothing, tmp_path)


def test_other_columns_than_the_references_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnsDifferError, match=r"reference has \['x'\], current \['y'\]"):
        compare(pd.DataFrame({"x": [1.0]}), pd.DataFrame({"y": [1.0]}), tmp_path)


class _Loads(HTMLParser):
    """What a browser would fetch for this page: addresses in attributes, and imports and urls in styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attributes:
            if (name == "src" or (name == "href" and tag == "link")) and not (value or "").startswith(
                "data:"
            ):
                self.found.append(f"<{tag} {name}={value}>")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.found += self._addresses(data)

    @staticmethod
    def _addresses(style: str) -> Iterator[str]:
        for match in re.finditer(r"@import[^;]+|url\(([^)]{0,200})", style):
            if not (match.group(1) or "").strip("'\" ").startswith("data:"):
                yield match.group(0)


def test_the_report_is_one_file_that_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [0.0, 2.0] * 50, "c": ["a", "b"] * 50})
    result = compare(frame, frame, tmp_path / "new folder")
    page = _Loads()
    page.feed(result.html.read_text())
    assert page.found == []
    assert [path.name for path in result.html.parent.iterdir()] == ["drift.html"]
