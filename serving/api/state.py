"""What the routes answer from. Every part may be absent: an answer then goes on without it and says so."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from serving.budget import Budget
from serving.live import LiveBundle, Serving
from serving.telemetry.metrics import Metrics

T = TypeVar("T")

# Of a smaller catalogue the arithmetic is quicker than handing it to a thread.
INLINE_UP_TO = 20_000
THREAD_BUDGET_S = 0.3

if TYPE_CHECKING:
    from serving.context.store import ContextStore
    from serving.decisions.log import DecisionLog
    from serving.events.intake import EventIntake
    from serving.experiments.running import Experiments
    from serving.lists.feed_cache import FeedCache
    from serving.peertube.videos import Videos
    from serving.pipeline.scorer import Scorer
    from serving.registry.reader import RegistryReader
    from serving.security.gate import Security
    from serving.trainings.runs import TrainingRuns
    from stack.settings import Settings


@dataclass
class State:
    """Filled in when the service starts (`serving.assembly`)."""

    metrics: Metrics = field(default_factory=Metrics)
    settings: "Settings | None" = None
    live: LiveBundle | None = None
    context: "ContextStore | None" = None
    scorer: "Scorer | None" = None
    cache: "FeedCache | None" = None
    events: "EventIntake | None" = None
    experiments: "Experiments | None" = None
    decisions: "DecisionLog | None" = None
    security: "Security | None" = None
    training: "TrainingRuns | None" = None
    registry: "RegistryReader | None" = None
    videos: "Videos | None" = None

    @property
    def serving(self) -> Serving | None:
        return self.live.current if self.live else None

    def known_as(self, user_id: str) -> str:
        """The id to answer for; nobody's for a user who was erased."""
        return self.live.opt_out.known_as(user_id) if self.live else user_id

    def is_erased(self, user_id: str) -> bool:
        """For what is to be stored; raises `OptOutFileError` while nobody can say."""
        if self.live is not None:
            self.live.opt_out.check_read()
        return self.known_as(user_id) != user_id

    async def arithmetic(self, work: "Callable[[], T]", videos: int) -> "T":
        """The result of work over a catalogue of so many videos: in a thread if it would hold up others. Raises
        `TimeoutError` if that thread has no time for it."""
        if self.scorer is None or videos <= INLINE_UP_TO:
            return work()
        async with Budget(THREAD_BUDGET_S):
            result: T = await self.scorer.run(work)
        return result
