"""Before a bundle serves it is asked: sample users, videos, and what people asked for just now."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from serving.context.session import NOTHING, SessionContext
from serving.errors import SmokeTestError
from serving.pipeline.config import PipelineConfig
from serving.pipeline.feed import FeedPipeline
from serving.pipeline.page import Page
from serving.pipeline.planning import EVERYTHING_WAS_MET
from serving.pipeline.session import session_of

SMOKE_USERS = 5
KEPT_REQUESTS = 100
# Nothing is left to chance, so that what was met cannot hide behind what was drawn.
_PLAIN = PipelineConfig(exploration=0)
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Recorded:
    """A list that somebody asked for, and what was known of their session then."""

    user_id: str
    limit: int
    offset: int
    session: SessionContext


class RecordedRequests:
    """The last lists that had to be made, for the next bundle to be tried on. Bounded; never written anywhere."""

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self._requests: deque[Recorded] = deque(maxlen=kept)
        self._cleared = 0

    def add(self, request: Recorded) -> None:
        self._requests.append(request)

    def clear(self) -> None:
        """After an erasure nothing of before is kept, nor goes on being tried."""
        self._cleared += 1
        self._requests.clear()

    def __iter__(self) -> Iterator[Recorded]:
        cleared = self._cleared
        for request in list(self._requests):
            if self._cleared != cleared:
                return
            yield request


def smoke_test(
    pipeline: FeedPipeline, recorded: Sequence[Recorded] | RecordedRequests = (), pause_s: float = 0
) -> None:
    """Ask a new bundle for lists of each kind of user, for videos like others, and for what was asked of the old one;
    raises `SmokeTestError` naming the one that is not sane. What a first request would wait for (pages of files,
    threads of libraries) is done by then. `pause_s`: between two lists, for whom this must not hold up."""
    loaded = pipeline.bundle
    videos = loaded.catalogue.video_ids
    users = loaded.models[loaded.record.champion].user_ids
    sample = (
        [str(u) for u in users[np.linspace(0, len(users) - 1, SMOKE_USERS).astype(int)]] if len(users) else []
    )
    for user in [*sample, ""]:
        time.sleep(pause_s)
        # Whose list it is is not said: the reason of a refusal is public.
        _try_feed(
            pipeline, Recorded(user, 20, 0, NOTHING), "the feed of a sample user" if user else "nobody's feed"
        )
    for request in recorded:
        time.sleep(pause_s)
        _try_feed(pipeline, request, "the feed of a recorded request")
    for row in {0, len(videos) // 2, len(videos) - 1}:
        time.sleep(pause_s)
        page = pipeline.ranker.similar(str(videos[row]), 10)
        if not page.rows and _left(pipeline, [row]):
            raise SmokeTestError(f"nothing is similar to video {videos[row]}")
        _sane(page, f"the videos similar to {videos[row]}")
        page = pipeline.ranker.next_after(str(videos[row]), sample[0] if sample else "", [], _NONE, 10)
        _sane(page, f"what comes after {videos[row]}")


def _left(pipeline: FeedPipeline, out: Sequence[int]) -> bool:
    """Whether any video may be shown, apart from those in the rows `out`."""
    return len({*pipeline.blocked.tolist(), *out}) < len(pipeline.bundle.catalogue)


def _try_feed(pipeline: FeedPipeline, request: Recorded, what: str) -> None:
    session = session_of(request.session, pipeline.bundle.catalogue)
    page = pipeline.feed(request.user_id, request.limit, request.offset, session, _PLAIN)
    if not page.rows and not request.offset and _left(pipeline, session.blocked):
        raise SmokeTestError(f"{what} is empty")
    met = set(pipeline.excluded(request.user_id, session).tolist())
    again = EVERYTHING_WAS_MET in page.degraded
    if not again and met & set(page.rows):
        raise SmokeTestError(f"{what} holds a watched video")
    wrong = [why for why in page.degraded if why != EVERYTHING_WAS_MET]
    if wrong:
        raise SmokeTestError(f"{what} is degraded: {'; '.join(wrong)}")
    _sane(page, what)


def _sane(page: Page, what: str) -> None:
    if len(set(page.rows)) != len(page.rows):
        raise SmokeTestError(f"{what}: a video comes twice")
    if not np.isfinite(page.scores).all():
        raise SmokeTestError(f"{what}: a score is not finite")
