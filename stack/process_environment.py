"""What any process of ours needs in its environment, whatever the settings: silence, and loopback without a proxy."""

import os
from collections.abc import Mapping

HERE = ("127.0.0.1", "localhost", "::1")


def no_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """`NO_PROXY` and `no_proxy` that exempt loopback too, and keep what either of them exempts already.

    Both spellings: httpx and requests read the lower-case one first, other tools only one of them.
    """
    words = (environment.get("no_proxy", "") + "," + environment.get("NO_PROXY", "")).split(",")
    hosts = dict.fromkeys(stripped for word in [*words, *HERE] if (stripped := word.strip()))
    value = "*" if "*" in hosts else ",".join(hosts)
    return {"NO_PROXY": value, "no_proxy": value}


def reach_loopback_directly() -> None:
    """Let no HTTP client of this process send a request for our own servers to a proxy. For entry points."""
    os.environ.update(no_proxy(os.environ))


def telemetry_off() -> dict[str, str]:
    """Environment that silences every package's telemetry and update check; every process we start gets it."""
    return {
        "DO_NOT_TRACK": "1",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Not telemetry, but as unasked for: links and progress bars in the log of every run.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
