"""Has behaviour drifted from what the models were trained on? (The only module that imports Evidently.)

One method per type of column, and both are distances, not tests: at tens of thousands of rows the p-value of a KS
or chi-square test calls every difference significant, and retraining on that would never stop.

- numbers: Wasserstein distance divided by the reference's standard deviation; 0.1 reads "moved by a tenth of a
  deviation". PSI and Jensen-Shannon would depend on how the values are binned, PSI without bound on empty bins.
- categories: Jensen-Shannon distance (natural log, 0 to 0.83); defined when a category is new or gone. Categories
  beyond the most common `MAX_CATEGORIES` of the reference are pooled: between two samples of the same thing, of n
  and m rows, the distance is about sqrt((k - 1) (1/n + 1/m) / 8), and with k <= 31 and `MIN_ROWS` rows that
  stays below the threshold.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

METHODS: dict[str, str] = {"number": "wasserstein", "category": "jensenshannon"}
THRESHOLD = 0.1  # of either distance: Evidently's own default, and see above what it means
SHARE_THRESHOLD = 0.5
MIN_ROWS = 1_000
MAX_ROWS = 50_000
MAX_CATEGORIES = 30
OTHER = "(other)"
MISSING = "(missing)"


class TooLittleDataError(Exception):
    """There is too little to compare yet: nothing is wrong, and nothing can be said."""


class NotEnoughDataError(TooLittleDataError):
    """One side has too few rows, or a column without a value: there is nothing to compare."""


class ColumnsDifferError(Exception):
    """Reference and current do not have the same columns."""


@dataclass(frozen=True)
class ColumnDrift:
    name: str
    kind: Literal["number", "category"]
    method: str
    statistic: float
    threshold: float
    drifted: bool  # statistic >= threshold


@dataclass(frozen=True)
class DriftResult:
    """`share` of the columns drifted; `drifted` when that is at least `share_threshold`."""

    share: float
    share_threshold: float
    columns: tuple[ColumnDrift, ...]  # in the order of the data
    reference_rows: int
    current_rows: int
    html: Path

    @property
    def drifted(self) -> bool:
        return self.share >= self.share_threshold


def drift_report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    out_html: Path,
    *,
    share_threshold: float = SHARE_THRESHOLD,
    min_rows: int = MIN_ROWS,
    max_rows: int = MAX_ROWS,
) -> DriftResult:
    """Compare each column of `current` with `reference`; write Evidently's report, one file that works offline.

    Numeric columns are compared as numbers, all others (booleans, too) as categories. More than `max_rows` rows
    are sampled, the same ones each time: the same data gives the same result (not the same bytes of HTML:
    Evidently names its elements at random). Raises `NotEnoughDataError`, `ColumnsDifferError`.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    if list(reference.columns) != list(current.columns):
        raise ColumnsDifferError(f"reference has {list(reference.columns)}, current {list(current.columns)}")
    for name, frame in (("reference", reference), ("current", current)):
        _refuse_too_little(name, frame, max(min_rows, 1))
    reference, current = _sampled(reference, max_rows), _sampled(current, max_rows)
    numbers = [
        name for name in reference.columns if _is_number(reference[name]) and _is_number(current[name])
    ]
    categories = [name for name in reference.columns if name not in numbers]
    for name in categories:
        reference[name], current[name] = _pooled(reference[name], current[name])

    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    preset = DataDriftPreset(
        columns=list(reference.columns),
        num_method=METHODS["number"],
        cat_method=METHODS["category"],
        num_threshold=THRESHOLD,
        cat_threshold=THRESHOLD,
        drift_share=share_threshold,
    )
    # Evidently also correlates the columns; with a constant one that is 0 / 0, which it leaves out.
    with np.errstate(invalid="ignore"):
        snapshot = Report([preset]).run(
            Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition)
        )
    statistics = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if "column" in metric["config"]
    }
    columns = tuple(
        ColumnDrift(name, kind, METHODS[kind], statistics[name], THRESHOLD, statistics[name] >= THRESHOLD)
        for name in reference.columns
        for kind in (_kind(name in numbers),)
    )
    _write_whole(out_html, snapshot.get_html_str(as_iframe=False))
    return DriftResult(
        share=sum(column.drifted for column in columns) / len(columns),
        share_threshold=share_threshold,
        columns=columns,
        reference_rows=len(reference),
        current_rows=len(current),
        html=out_html,
    )


def _kind(is_number: bool) -> Literal["number", "category"]:
    return "number" if is_number else "category"


def _is_number(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _refuse_too_little(name: str, frame: pd.DataFrame, min_rows: int) -> None:
    if len(frame) < min_rows:
        raise NotEnoughDataError(f"the {name} data has {len(frame)} rows, at least {min_rows} are needed")
    if frame.columns.empty:
        raise NotEnoughDataError(f"the {name} data has no columns")
    for column in frame.columns:
        if frame[column].isna().all():
            raise NotEnoughDataError(f"the {name} data has no value in column {column}")


def _sampled(frame: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    """At most `max_rows` rows, as a copy."""
    if len(frame) > max_rows:
        frame = frame.sample(max_rows, random_state=0)
    return frame.reset_index(drop=True).copy()


def _pooled(reference: pd.Series, current: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Both as text, with what is not among the reference's most common categories as one; ties by name."""
    reference, current = (side.map(str, na_action="ignore").fillna(MISSING) for side in (reference, current))
    counts = reference.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    kept = set(counts.index[:MAX_CATEGORIES])
    return reference.where(reference.isin(kept), OTHER), current.where(current.isin(kept), OTHER)


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
