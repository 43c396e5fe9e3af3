"""The training set: interactions beside what was known at their hour, as parquet, versioned by DVC, validated first."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster import MetadataValue
from dagster_dbt import DbtCliResource, dbt_assets

from data_quality.training_rows import data_clock
from data_quality.training_set import export_training_set
from data_quality.windows import iso_ms
from orchestration.code_versions import code_version
from orchestration.dbt import RETRY, ReelgraphTranslator, build, dbt_manifest
from orchestration.metadata import markdown_table
from orchestration.pools import MODELS
from orchestration.records import TrainingSet
from orchestration.resources import Stores
from orchestration.training_window import OP, TrainingWindowConfig, training_variables
from stack.settings import load_settings

SELECTOR = "training_models"


@dg.definitions
def training_tables() -> dg.Definitions:
    """The point-in-time features: dbt models that only a training set needs."""
    models = dbt_assets(
        manifest=dbt_manifest(load_settings()),
        selector=SELECTOR,
        name=OP,
        dagster_dbt_translator=ReelgraphTranslator(),
        # Not the warehouse's: a run holds its pools to its end, and the sessions must not wait for the models.
        pool=MODELS,
        retry_policy=RETRY,
    )(build_training_models)
    return dg.Definitions(
        assets=[models, training_set],
        asset_checks=[training_set_is_valid, training_rows_never_see_the_future],
    )


def build_training_models(
    context: dg.AssetExecutionContext, config: TrainingWindowConfig, dbt: DbtCliResource, stores: Stores
) -> Iterator[object]:
    wait_for_rebuilds(stores)
    clock = None
    if config.is_set:
        with stores.clickhouse() as client:
            clock = data_clock(client)
    yield from build(context, dbt, stores, training_variables(stores.settings, config, clock))


def wait_for_rebuilds(stores: Stores, seconds: float = 60.0) -> None:
    """Until no run is between taking what arrived and having built it, but not longer than `seconds`. The models look
    again themselves, and fail rather than miss a session (dbt's `no_rebuild_is_under_way`); then the op is retried."""
    from ingestion.journal import TAKEN, journal_rows

    deadline = time.monotonic() + seconds
    with stores.clickhouse() as client:
        while journal_rows(client, *TAKEN) and time.monotonic() < deadline:
            time.sleep(0.5)


@dg.asset(
    group_name="training",
    kinds={"parquet", "dvc"},
    owners=["team:ml"],
    deps=[
        "training_interactions",
        "user_features_hourly",
        "video_features_hourly",
        "watch_sessions",
        "stg_videos",
        "stg_users",
        # Nothing of them goes into the set, but where they are wrong, so is what it is made of: their checks block it.
        "user_features",
        "video_features",
    ],
    code_version=code_version(
        "data_quality/training_set.py",
        "data_quality/training_rows.py",
        "data_quality/training_set_schema.py",
        "data_quality/windows.py",
        "stack/data_versions.py",
    ),
    pool=MODELS,
)
def training_set(context: dg.AssetExecutionContext, stores: Stores) -> dg.Output[TrainingSet]:
    """Interactions of the last 90 days with a watch-time ratio above 0.1 (R4), each with the features of its user and
    video as they stood at the start of its hour, and the catalogue they refer to.

    One folder, tracked by DVC as one version; the hash travels to MLflow and into the bundle."""
    from ml.tuning_parameters import ensure
    from serving.code_version import code_version as commit_of_code
    from stack.data_versions import track

    settings = stores.settings
    ensure(settings.parameters_dir)  # `dvc repro` of this set's models depends on the file
    with stores.clickhouse() as client:
        meta = export_training_set(client, settings.training_set_dir, seed=settings.seed)
    made = {
        "git_commit": str(commit_of_code().git_commit),
        "dagster_run_id": context.run_id,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    version = track(settings, settings.training_set_dir, provenance=made)
    context.log.info(f"{meta['rows']} rows, version {version.hash}")
    record = TrainingSet(path=settings.training_set_dir, dvc_hash=version.hash, meta=meta)
    return dg.Output(
        record,
        data_version=dg.DataVersion(version.hash),
        metadata={
            "dagster/row_count": int(meta["rows"]),
            "dvc hash": version.hash,
            "in the remote": version.pushed,
            "git commit": made["git_commit"],
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
def training_set_is_valid(training_set: TrainingSet, stores: Stores) -> dg.AssetCheckResult:
    from data_quality.expectations import validate_training_set

    report = validate_training_set(training_set.path, docs=stores.settings.home / "data_docs")
    pages = {"data docs": MetadataValue.path(str(report.data_docs))} if report.data_docs else {}
    return dg.AssetCheckResult(
        passed=report.success,
        metadata={
            "expectations": report.evaluated,
            "warnings": len(report.warnings),
            "result": MetadataValue.md(report.to_markdown()),
            **pages,
        },
    )


@dg.asset_check(
    asset="training_interactions",
    blocking=True,
    pool=MODELS,
    description="Events planted after a cut, in a copy of real ones, change no row before it: by the real models.",
)
def training_rows_never_see_the_future(stores: Stores) -> dg.AssetCheckResult:
    from data_quality.planted_future import planted_future

    found = planted_future(stores.settings)
    return dg.AssetCheckResult(
        passed=found.passed,
        metadata={
            "rows compared": found.rows,
            "of them whole": found.whole_rows,
            "users": found.users,
            "cut": iso_ms(found.cut),
            "as of": iso_ms(found.as_of),
            "sessions planted in": found.sessions,
            "planted": markdown_table([dict(found.planted)]),
            "differences": found.differences,
            **(
                {"examples": MetadataValue.md("\n".join(f"- {x}" for x in found.examples))}
                if found.examples
                else {}
            ),
        },
    )
