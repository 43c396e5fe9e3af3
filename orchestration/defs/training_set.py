"""The training set: a window of interactions as parquet, versioned by DVC, validated before anything trains on it."""

import dagster as dg
from dagster import MetadataValue

from data_quality.training_set import (
    data_clock,
    fetch_catalogue,
    fetch_interactions,
    fetch_met,
    write_training_set,
)
from orchestration.code_versions import code_version
from orchestration.metadata import markdown_table
from orchestration.pools import MODELS
from orchestration.records import TrainingSet
from orchestration.resources import Stores

MIN_WATCH_TIME_RATIO = 0.1  # contract R4


@dg.asset(
    group_name="training",
    kinds={"parquet", "dvc"},
    owners=["team:ml"],
    deps=["interactions", "stg_videos"],
    code_version=code_version(
        "data_quality/training_set.py", "data_quality/windows.py", "stack/data_versions.py"
    ),
    pool=MODELS,
)
def training_set(context: dg.AssetExecutionContext, stores: Stores) -> dg.Output[TrainingSet]:
    """Interactions of the last 90 days with a watch-time ratio above 0.1 (R4) and the catalogue they refer to.

    One folder, tracked by DVC as one version; the hash travels to MLflow and into the bundle."""
    from stack.data_versions import track

    settings = stores.settings
    with stores.clickhouse() as client:
        as_of = data_clock(client)
        interactions = fetch_interactions(
            client, as_of=as_of, window_days=settings.training_window_days, min_ratio=MIN_WATCH_TIME_RATIO
        )
        catalogue = fetch_catalogue(client)
        met = fetch_met(client, as_of=as_of)
    meta = write_training_set(
        settings.training_set_dir,
        interactions,
        catalogue,
        met=met,
        as_of=as_of,
        window_days=settings.training_window_days,
        min_ratio=MIN_WATCH_TIME_RATIO,
        seed=settings.seed,
    )
    version = track(settings, settings.training_set_dir)
    context.log.info(f"{meta['rows']} rows, version {version.hash}")
    record = TrainingSet(path=settings.training_set_dir, dvc_hash=version.hash, meta=meta)
    return dg.Output(
        record,
        data_version=dg.DataVersion(version.hash),
        metadata={
            "dagster/row_count": int(meta["rows"]),
            "dvc hash": version.hash,
            "as of": str(meta["as_of"]),
            "path": MetadataValue.path(str(settings.training_set_dir)),
            "window": f"{meta['window_start']} .. {meta['as_of']}",
            "counts": markdown_table([{k: meta[k] for k in ("rows", "users", "videos", "positives")}]),
        },
    )


@dg.asset_check(
    asset=training_set,
    blocking=True,
    description="Great Expectations: types, ranges, window, uniqueness. A failing set trains nothing.",
)
def training_set_is_valid(training_set: TrainingSet) -> dg.AssetCheckResult:
    from data_quality.expectations import validate_training_set

    report = validate_training_set(training_set.path)
    return dg.AssetCheckResult(
        passed=report.success,
        metadata={
            "expectations": report.evaluated,
            "warnings": len(report.warnings),
            "result": MetadataValue.md(report.to_markdown()),
        },
    )
