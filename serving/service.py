"""The BentoML service: `bentoml serve serving.service:RecommenderService`.

One worker. It imports neither torch, mlflow nor pyarrow: a bundle needs numpy alone.
"""

import ctypes
import gc
import signal
import sys

import bentoml
import prometheus_client.values
from bentoml._internal.configuration.containers import BentoMLContainer
from opentelemetry.util.http import ExcludeList
from prometheus_client import disable_created_metrics

from serving.api.app import create_app
from serving.api.state import State
from serving.assembly import Parts, assemble
from serving.gateway import Gateway
from serving.telemetry import logs
from serving.telemetry.tracing import Traced
from serving.time_limit import limit_requests
from stack.settings import get_settings, telemetry_off

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h

# A thread that scores or loads a bundle gives way to the event loop after this long, not after Python's 5 ms.
SWITCH_INTERVAL_S = 0.0005

# Requests under way are no growth: looked at seldom, few of them are old enough to make Python walk all that it holds.
COLLECT_EVERY = (10_000, 20, 20)

# One user's scores are too small a product to share between threads: they would spin longer than they compute.
WORKER_ENVIRONMENT = {**telemetry_off(), "OPENBLAS_NUM_THREADS": "1"}

# BentoML has it keep numbers in files that processes share; there is one process, and a feed adds to twenty of them.
prometheus_client.values.ValueClass = prometheus_client.values.MutexValue

# A second series beside every counter and bucket, which nobody reads.
disable_created_metrics()
limit_requests()

state = State()
app = Traced(Gateway(create_app(state), state.metrics))

# Its middleware makes a span of every request, sampled or not, which costs 0.1 ms; ours knows the route (`Traced`).
BentoMLContainer.tracing_excluded_urls.set(ExcludeList([".*"]))


@bentoml.service(
    name="RecommenderService",
    workers=1,
    # See `serving.time_limit`.
    traffic={"timeout": 3},
    # Its metrics label by path, which holds ids; ours are at /metrics. An access log costs more than a feed.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    envs=[{"name": name, "value": value} for name, value in WORKER_ENVIRONMENT.items()],
)
@bentoml.asgi_app(app, path="/")
class RecommenderService:
    """Feeds, similar videos and single-model lists from the bundle in service."""

    def __init__(self) -> None:
        self._parts: Parts | None = None
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.set_threshold(*COLLECT_EVERY)
        logs.configure(get_settings())
        _end_with_parent()

    @bentoml.on_startup
    async def start(self) -> None:
        """On the event loop that answers requests: parts may hold connections and tasks of it."""
        self._parts = await assemble(get_settings(), state)

    def __is_ready__(self) -> bool:
        """BentoML's own `/readyz` says the same as `/health/ready`."""
        return state.serving is not None

    @bentoml.on_shutdown
    async def close(self) -> None:
        if self._parts:
            await self._parts.close()


def _end_with_parent() -> None:
    """Have the kernel end this worker when `bentoml serve` dies, however it dies: an orphan would keep the port."""
    if bentoml.server_context.worker_index is not None and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
