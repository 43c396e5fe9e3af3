"""`dvc repro` from a tracked training set, outside of Dagster, gives the figures of the functions Dagster calls."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_quality.training_set import VIDEOS_SCHEMA, write_training_set
from stack.data_versions import track
from stack.settings import Settings, child_environment

USERS, VIDEOS, ROWS = 40, 30, 800


@pytest.fixture
def trained_on(
    new_settings: Callable[..., Settings],
    make_interactions: Callable[..., pa.Table],
    make_met: Callable[[pa.Table], pa.Table],
    as_of: datetime,
) -> Settings:
    """A home with a tracked training set of people who each like one of three topics."""
    rng = np.random.default_rng(0)
    users, videos = rng.integers(0, USERS, ROWS), rng.integers(0, VIDEOS, ROWS)
    ratios = np.where(users % 3 == videos % 3, 0.9, 0.3)
    interactions = make_interactions(
        ROWS,
        user_id=[f"u{user}" for user in users],
        video_id=[f"v{video}" for video in videos],
        started_at=[as_of - timedelta(minutes=10 * (ROWS - i)) for i in range(ROWS)],
        total_watch_time_ms=[int(20_000 * ratio) for ratio in ratios],
        watch_time_ratio=ratios.tolist(),
        rating=(5 * ratios).tolist(),
        weight=ratios.tolist(),
        is_positive=(ratios >= 0.7).tolist(),
    )
    text = {
        name: [""] * VIDEOS for name in ("creator_id", "title", "description", "language", "thumbnail_url")
    }
    catalogue = pa.table(
        {
            **text,
            "video_id": [f"v{i}" for i in range(VIDEOS)],
            "category": [f"topic {i % 3}" for i in range(VIDEOS)],
            "tags": [[]] * VIDEOS,
            "duration_ms": [20_000] * VIDEOS,
            "upload_time": [as_of - timedelta(days=100)] * VIDEOS,
        }
    ).select(VIDEOS_SCHEMA.names)
    settings = new_settings("home with a space", two_tower_epochs=1, test_fraction=0.25, seed=3)
    write_training_set(
        settings.training_set_dir,
        interactions,
        catalogue,
        met=make_met(interactions),
        as_of=as_of,
        seed=settings.seed,
    )
    track(settings, settings.training_set_dir)
    return settings


def dvc(settings: Settings, *arguments: str) -> str:
    environment = child_environment(settings)
    # The stages say `python`, as in a terminal where the virtual environment is active.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=settings.home, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_dvc_repro_gives_the_same_metrics_as_the_functions_dagster_calls(
    trained_on: Settings, tmp_path: Path
) -> None:
    from ml.config import HybridConfig
    from ml.pipeline import KINDS, judge, train
    from ml.tuning_parameters import ensure

    ensure(trained_on.parameters_dir)
    output = dvc(trained_on, "repro")
    assert all(f"train@{kind}" in output for kind in KINDS if kind != "hybrid")
    config = {"test_fraction": 0.25, "seed": 3, "two_tower": {"epochs": 1}}
    folders = {kind: tmp_path / kind for kind in KINDS}
    for kind in KINDS:
        parts = {part: folders[part] for part in HybridConfig().parts} if kind == "hybrid" else {}
        train(kind, trained_on.training_set_dir, folders[kind], config=config, parts=parts)
    judge(folders, trained_on.training_set_dir, tmp_path / "judgement", seed=3)

    by_dvc, by_hand = (
        json.loads((folder / "judgement" / "judgement.json").read_text())
        for folder in (trained_on.home / "dvc_models", tmp_path)
    )
    assert by_dvc == by_hand
    assert set(by_dvc["metrics"]) == set(KINDS)
    shown = json.loads(dvc(trained_on, "metrics", "show", "--json"))
    judged = shown[""]["data"]["dvc_models/judgement/judgement.json"]["data"]
    assert judged["metrics"] == by_dvc["metrics"]

    assert "Data and pipelines are up to date." in dvc(trained_on, "repro")
