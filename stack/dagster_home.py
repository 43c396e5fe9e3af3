"""Writes `dagster.yaml`, the instance Dagster's processes share: Postgres storage, one queue, local folders."""

from pathlib import Path
from typing import Any

import yaml

from stack.settings import Settings


def dagster_instance(settings: Settings) -> dict[str, Any]:
    """The content of `dagster.yaml`. The database URL stays in the environment: it may hold a password."""
    home = settings.dagster_home
    return {
        "storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}},
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(home)},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(home / "compute_logs")},
        },
        # Runs whose assets name the same pool wait for each other, also those somebody starts by hand. Whole runs
        # wait, not steps: a run that is killed leaves no slot taken.
        "concurrency": {
            "runs": {"max_concurrent_runs": 4},
            "pools": {"granularity": "run", "default_limit": 1},
        },
        # A run whose process was killed is marked failed, not left running for ever.
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 180,
            "cancel_timeout_seconds": 60,
            "poll_interval_seconds": 10,
        },
        "sensors": {"use_threads": True, "num_workers": 2},
        "schedules": {"use_threads": True, "num_workers": 2},
        "retention": {
            "schedule": {"purge_after_days": 30},
            "sensor": {"purge_after_days": {"skipped": 1, "failure": 30, "success": 30}},
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def write_dagster_yaml(settings: Settings) -> Path:
    """Write it if it differs; returns its path. Replaced atomically: a reader never sees half of it."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    path = settings.dagster_home / "dagster.yaml"
    text = "# Written by `reelgraph up`; edit stack/dagster_home.py instead.\n" + yaml.safe_dump(
        dagster_instance(settings), sort_keys=False
    )
    if not path.exists() or path.read_text() != text:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(path)
    return path
