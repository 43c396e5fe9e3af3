"""The training set of the largest size: its tables in ClickHouse, then the folder that DVC would track."""

from dataclasses import dataclass

import psutil

from data_quality.training_set import export_training_set
from orchestration.bench.data.dbt_run import dbt_run
from orchestration.bench.data.meter import Meter
from orchestration.bench.data.stores import Stores


@dataclass(frozen=True)
class Training:
    """Seconds and memory of both halves; `peak_gb` is of ClickHouse and of the process that writes, together."""

    interactions: int
    models_s: dict[str, float]
    tables_s: float
    write_s: float
    seconds: float
    cpu_s: float
    peak_gb: float
    folder_gb: float


def measure_training_set(stores: Stores) -> Training:
    """Build `tag:training`, and write the training set as the asset does."""
    settings = stores.settings
    with Meter(stores.clickhouse, psutil.Process()) as tables:
        run = dbt_run(settings, "--select", "interactions", "tag:training")
    with Meter(stores.clickhouse, psutil.Process()) as writing:
        meta = export_training_set(stores.client, settings.training_set_dir)
    return Training(
        interactions=int(meta["rows"]),
        models_s=run.models_s,
        tables_s=round(tables.seconds, 1),
        write_s=round(writing.seconds, 1),
        seconds=round(tables.seconds + writing.seconds, 1),
        cpu_s=round(tables.cpu_s + writing.cpu_s, 1),
        peak_gb=max(tables.peak_gb, writing.peak_gb),
        folder_gb=round(sum(f.stat().st_size for f in settings.training_set_dir.iterdir()) / 1e9, 3),
    )
