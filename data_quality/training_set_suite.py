"""The training-set suite, stated as data: what must hold, how bad it is if not, and on which column.

No Great Expectations here (only `expectations.py` imports it): a `Statement` names one of its expectations
and the arguments. Statements about two columns are checked on a derived column that is 0 or false when they
hold: one vectorised pass does, and the report shows the size of the error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_quality.report import Severity
from data_quality.training_set_schema import FEATURES, INTERACTIONS_SCHEMA, MET_SCHEMA, USERS_SCHEMA

# The same formula in ClickHouse and here may differ in the last bits of a double, never by this much.
TOLERANCE = 1e-9
MAX_RATING = 5.0  # contract R5: rating scale 0-5
POSITIVE_RATIO = 0.7  # contract R1.3: a session counts as engaged from here

# Outside of it the implicit models have nothing to tell apart: almost everything is liked, or almost nothing.
POSITIVES_SHARE = (0.01, 0.99)


@dataclass(frozen=True)
class Statement:
    """`name` reads as a sentence that must be true; `kind` and `arguments` say how GX checks it."""

    name: str
    column: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "error"


def with_derived_columns(
    interactions: pa.Table, video_ids: pa.Array | None = None, met: pa.Table | None = None
) -> pd.DataFrame:
    """The table as pandas, plus the columns of errors the statements speak of.

    `unknown_video` (with `video_ids`) is the id where the catalogue lacks it, else null. Handing GX the ids
    as a value set instead costs more than all the rest: it copies the set at every step.
    `met_by_then` (with `met`) says whether the pair was first met when the row started, or before.
    """
    # GX copies the frame for each column it looks at: ids as categories make that five times faster.
    frame = interactions.to_pandas(strings_to_categorical=True)
    ratio = frame["watch_time_ratio"]
    capped = ratio.clip(upper=1.0)
    frame["ratio_error"] = (ratio - frame["total_watch_time_ms"] / frame["video_duration_ms"]).abs()
    frame["rating_error"] = (frame["rating"] - MAX_RATING * capped).abs()
    # weight = min(ratio, 1) + one for each kind of interaction: what is above the ratio is 0..5 of them.
    interactions_given = frame["weight"] - capped
    frame["interactions_error"] = (interactions_given - interactions_given.round().clip(0, 5)).abs()
    frame["positive_disagrees"] = frame["is_positive"] != (
        (ratio >= POSITIVE_RATIO) | (interactions_given > 0.5)
    )
    elapsed_ms = (frame["ended_at"] - frame["started_at"]) // pd.Timedelta(milliseconds=1)
    frame["time_after_the_play_ms"] = elapsed_ms - frame["total_watch_time_ms"]
    frame["positive_share"] = frame["is_positive"].astype(float)
    if video_ids is not None:
        known = pc.is_in(interactions["video_id"], value_set=video_ids).to_numpy(zero_copy_only=False)
        frame["unknown_video"] = frame["video_id"].where(~known, None)
    if met is not None:
        pair = ["user_id", "video_id"]
        once = met.to_pandas().drop_duplicates(pair)  # a repeated pair is another statement's finding
        first = interactions.select(pair).to_pandas().merge(once, on=pair, how="left")
        frame["met_by_then"] = (first["first_met_at"] <= frame["started_at"]).to_numpy()  # never met: false
    if set(interactions.schema.names) >= {feature.name for feature in FEATURES}:
        _derive_of_features(frame, interactions, met)
    return frame


def _derive_of_features(frame: pd.DataFrame, interactions: pa.Table, met: pa.Table | None) -> None:
    """`<entity>_mean_disagrees`: a mean without a session, or none with some. `plays_before_all_plays`: of the week
    beyond those of all time. `sessions_before_the_first` (with `met`): of a user who had met nothing when the hour
    began, else null."""
    for entity in ("user", "video"):
        has_mean = frame[f"{entity}_avg_completion_ratio"].notna()
        frame[f"{entity}_mean_disagrees"] = has_mean != (frame[f"{entity}_sessions"] > 0)
    frame["plays_before_all_plays"] = frame["video_plays_7d"] - frame["video_plays_cumulative"]
    if met is not None:
        first = met.group_by("user_id").aggregate([("first_met_at", "min")]).to_pandas()
        firsts = interactions.select(["user_id"]).to_pandas().merge(first, on="user_id", how="left")
        hour = frame["started_at"].dt.floor("h")
        knows_nothing = (firsts["first_met_at_min"] >= hour).to_numpy()
        frame["sessions_before_the_first"] = frame["user_sessions"].where(knows_nothing)


def type_errors(
    schema: pa.Schema, expected_schema: pa.Schema = INTERACTIONS_SCHEMA
) -> dict[str, tuple[str, str]]:
    """`{column: (expected type, found type)}` of the columns that are there with another type."""
    return {
        expected.name: (str(expected.type), str(schema.field(expected.name).type))
        for expected in expected_schema
        if expected.name in schema.names and schema.field(expected.name).type != expected.type
    }


def statements(
    *,
    window_start: datetime,
    as_of: datetime,
    min_ratio: float,
    floor: int,
    positives_share: tuple[float, float] = POSITIVES_SHARE,
    with_catalogue: bool = False,
    with_met: bool = False,
    with_features: bool = False,
) -> list[Statement]:
    """The suite for a set of this window. `floor` is the least number of rows."""
    between = "ExpectColumnValuesToBeBetween"
    exact = {"min_value": 0.0, "max_value": TOLERANCE}
    suite = [
        Statement("there_are_enough_rows", "", "ExpectTableRowCountToBeBetween", {"min_value": floor}),
        *(
            Statement("nothing_is_missing", name, "ExpectColumnValuesToNotBeNull")
            for name in INTERACTIONS_SCHEMA.names
        ),
        Statement(
            "one_row_per_session_and_video",
            "session_id, user_id, video_id",
            "ExpectCompoundColumnsToBeUnique",
            {"column_list": ["session_id", "user_id", "video_id"]},
        ),
        *(
            Statement("no_id_is_empty", name, "ExpectColumnValuesToNotBeInSet", {"value_set": [""]})
            for name in ("session_id", "user_id", "video_id")
        ),
        Statement(
            "sessions_start_inside_the_window",
            "started_at",
            between,
            {"min_value": window_start, "max_value": as_of, "strict_max": True},
        ),
        Statement("sessions_end_inside_the_window", "ended_at", between, {"max_value": as_of}),
        Statement("sessions_end_after_the_play", "time_after_the_play_ms", between, {"min_value": 0}),
        Statement("rows_are_in_order_of_time", "started_at", "ExpectColumnValuesToBeIncreasing"),
        Statement(
            "ratio_is_above_the_filter",
            "watch_time_ratio",
            between,
            {"min_value": min_ratio, "strict_min": True},
        ),
        Statement("watch_time_is_positive", "total_watch_time_ms", between, {"min_value": 1}),
        Statement("duration_is_positive", "video_duration_ms", between, {"min_value": 1}),
        Statement("ratio_is_watch_time_by_duration", "ratio_error", between, exact),
        Statement("rating_is_on_the_scale", "rating", between, {"min_value": 0.0, "max_value": MAX_RATING}),
        Statement("rating_is_five_times_the_capped_ratio", "rating_error", between, exact),
        Statement("weight_is_not_negative", "weight", between, {"min_value": 0.0}),
        Statement("weight_is_ratio_plus_interactions", "interactions_error", between, exact),
        Statement(
            "positives_are_the_completed_or_interacted",
            "positive_disagrees",
            "ExpectColumnValuesToNotBeInSet",
            {"value_set": [True]},
        ),
        Statement(
            "positives_are_neither_rare_nor_all",
            "positive_share",
            "ExpectColumnMeanToBeBetween",
            {"min_value": positives_share[0], "max_value": positives_share[1]},
        ),
    ]
    if with_catalogue:
        # A video can leave the catalogue after it was watched: the models cope, the operator should know.
        suite.append(
            Statement(
                "videos_are_in_the_catalogue",
                "unknown_video",
                "ExpectColumnValuesToBeNull",
                severity="warning",
            )
        )
    if with_met:
        suite.append(
            Statement(
                "what_was_played_was_met",
                "met_by_then",
                "ExpectColumnValuesToNotBeInSet",
                {"value_set": [False]},
            )
        )
    if with_features:
        suite += feature_statements(with_met=with_met)
    return suite


def feature_statements(*, with_met: bool) -> list[Statement]:
    """What holds of features that see only the hours before their row's."""
    between = "ExpectColumnValuesToBeBetween"
    suite = [
        *(
            Statement("nothing_is_missing", f.name, "ExpectColumnValuesToNotBeNull")
            for f in FEATURES
            if not f.nullable
        ),
        *(Statement("no_feature_is_negative", f.name, between, {"min_value": 0}) for f in FEATURES),
        *(
            Statement(
                "means_are_null_just_without_a_session",
                f"{entity}_mean_disagrees",
                "ExpectColumnValuesToNotBeInSet",
                {"value_set": [True]},
            )
            for entity in ("user", "video")
        ),
        Statement(
            "plays_of_the_week_are_among_all_plays", "plays_before_all_plays", between, {"max_value": 0}
        ),
    ]
    if with_met:
        # Nearly: a session is met when its play starts, and a like of the hour before makes it a session already.
        suite.append(
            Statement(
                "nothing_was_seen_before_the_first_session",
                "sessions_before_the_first",
                between,
                {"max_value": 0, "mostly": 0.99},
            )
        )
    return suite


def people_statements() -> list[Statement]:
    """The suite for `users.parquet`: models tell people apart by these columns."""
    between = "ExpectColumnValuesToBeBetween"
    return [
        *(
            Statement("nothing_is_missing", name, "ExpectColumnValuesToNotBeNull")
            for name in USERS_SCHEMA.names
            if name != "age"
        ),
        Statement("one_row_per_user", "user_id", "ExpectColumnValuesToBeUnique"),
        Statement("ages_are_of_people", "age", between, {"min_value": 0, "max_value": 130}, "warning"),
        Statement(
            "gender_is_known_or_said_to_be_unknown",
            "gender",
            "ExpectColumnValuesToBeInSet",
            {"value_set": ["male", "female", "unknown"]},
        ),
    ]


def met_statements(as_of: datetime) -> list[Statement]:
    """The suite for `watched.parquet` of a set made at `as_of`."""
    return [
        *(
            Statement("nothing_is_missing", name, "ExpectColumnValuesToNotBeNull")
            for name in MET_SCHEMA.names
        ),
        Statement(
            "one_row_per_user_and_video",
            "user_id, video_id",
            "ExpectCompoundColumnsToBeUnique",
            {"column_list": ["user_id", "video_id"]},
        ),
        Statement(
            "nothing_was_met_in_the_future",
            "first_met_at",
            "ExpectColumnValuesToBeBetween",
            {"max_value": as_of, "strict_max": True},
        ),
    ]
