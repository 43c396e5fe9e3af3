"""What dbt's profile reads from the environment, made from the settings."""

import os
import sys
from pathlib import Path

from stack.clients import clickhouse_parts
from stack.settings import Settings, telemetry_off


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Variables for any process that runs dbt; its target and log folders lie in the home, not in the tree."""
    parts = clickhouse_parts(settings)
    # The `dbt` beside this interpreter, wherever the caller's PATH points.
    here = str(Path(sys.executable).parent)
    return {
        **telemetry_off(),
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
        "DBT_CLICKHOUSE_HOST": str(parts["host"]),
        "DBT_CLICKHOUSE_PORT": str(parts["port"]),
        "DBT_CLICKHOUSE_USER": str(parts["username"]),
        "DBT_ENV_SECRET_CLICKHOUSE_PASSWORD": str(parts["password"]),
        "DBT_CLICKHOUSE_DATABASE": str(parts["database"]),
        "DBT_CLICKHOUSE_SECURE": str(parts["secure"]).lower(),
        "DBT_TARGET_PATH": str(settings.home / "dbt" / "target"),
        "DBT_LOG_PATH": str(settings.home / "dbt" / "logs"),
    }
