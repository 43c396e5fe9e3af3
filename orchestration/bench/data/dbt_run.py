"""`dbt run` as the job runs it: a process of its own; what each model took is what dbt says itself."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from stack.dbt_environment import dbt_environment
from stack.settings import PROJECT_ROOT, Settings, child_environment

PROJECT = PROJECT_ROOT / "dbt_project"


class DbtFailedError(Exception):
    """dbt did not succeed; the message has what it said."""


@dataclass(frozen=True)
class DbtRun:
    """Seconds of the whole command, and of each model (its hooks included) by its name."""

    command_s: float
    models_s: dict[str, float]

    def seconds(self, *names: str) -> float:
        """Of these models, or of all of them, one after the other."""
        return round(sum(s for name, s in self.models_s.items() if not names or name in names), 2)


def dbt_run(settings: Settings, *arguments: str, **variables: object) -> DbtRun:
    """`dbt run` with these arguments; one model at a time, so that their seconds add up. Raises `DbtFailedError`."""
    folder = PROJECT
    environment = {**child_environment(settings), **dbt_environment(settings), "DBT_THREADS": "1"}
    options = ["--project-dir", str(folder), "--profiles-dir", str(folder), "--vars", json.dumps(variables)]
    began = time.perf_counter()
    done = subprocess.run(
        ["dbt", "--quiet", "run", *options, *arguments],
        env={**os.environ, **environment},
        cwd=PROJECT_ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise DbtFailedError(f"dbt run {' '.join(arguments)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
    results: dict[str, Any] = json.loads((settings.home / "dbt" / "target" / "run_results.json").read_text())
    return DbtRun(
        round(seconds, 2),
        {r["unique_id"].split(".")[-1]: round(r["execution_time"], 2) for r in results["results"]},
    )
