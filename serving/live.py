"""The bundle in service: watches what is published, tries it beside the old one, then swaps one reference.

Two bundles are held at most: the one in service and, for a rollback, the one before it; that one goes before another is
read. What happens here shares the interpreter and the cores with requests, so it is made to be little and in small
pieces (`ml.arrays`, `ml.files.sha256_of`, pauses in the trial).
"""

import ctypes
import gc
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving import bento, bundle
from serving.bundle import Bundle, BundleRecord
from serving.code_version import code_version
from serving.compatibility import difference
from serving.errors import BundleError
from serving.exclusions import Exclusions
from serving.pipeline.feed import FeedPipeline
from serving.ranking import Ranker
from serving.repeated import Repeated
from serving.telemetry.metrics import Metrics
from serving.trial import RecordedRequests, smoke_test
from stack.settings import PROJECT_ROOT, Settings

log = logging.getLogger(__name__)

POLL_S = 0.5
RETRY_S = 10.0
TRIAL_PAUSE_S = 0.01
"""Between two lists of the trial, while requests are answered: about twice as long as a list takes."""


@dataclass(frozen=True)
class Serving:
    """What one request answers from: it takes the reference once and never mixes two bundles."""

    tag: str
    pipeline: FeedPipeline
    loaded_at: float
    code_differs: str | None = None

    @property
    def ranker(self) -> Ranker:
        return self.pipeline.ranker

    @property
    def bundle(self) -> Bundle:
        return self.pipeline.bundle

    @property
    def record(self) -> BundleRecord:
        return self.pipeline.bundle.record


@dataclass(frozen=True)
class Refusal:
    """A published bundle that was not taken into service."""

    tag: str
    reason: str


class LiveBundle:
    """Holds `current` and keeps it up to date from a thread; everything it exposes is replaced whole."""

    def __init__(self, settings: Settings, metrics: Metrics, poll_s: float = POLL_S) -> None:
        self._settings = settings
        self._metrics = metrics
        self._watch = Repeated("bundle-watcher", poll_s, self.check)
        self._seen: tuple[str, int] | None = None
        self._again_at = math.inf
        self.current: Serving | None = None
        self.before: Serving | None = None
        """What served before, ready to serve again."""
        self.refused: Refusal | None = None
        self.recorded = RecordedRequests()
        self.exclusions = Exclusions(settings, poll_s)
        self.opt_out = self.exclusions.opt_out
        self.exclusions.on_erased(self.recorded.clear)
        self.exclusions.on_blocked(self._block_in_service)
        self.code = code_version()
        self._on_swap: list[Callable[[Serving], None]] = []

    def start(self) -> None:
        self._watch.start()
        self.exclusions.start()

    def stop(self) -> None:
        self._watch.stop()
        self.exclusions.stop()

    def on_swap(self, tell: Callable[[Serving], None]) -> None:
        """Call `tell`, from the watching thread, each time another bundle has been taken into service."""
        self._on_swap.append(tell)

    def check(self) -> bool:
        """Take up what is published if it is new; returns whether the bundle in service changed."""
        self.exclusions.refresh()  # first: no bundle is taken up before the list of whom not to know
        published = bento.published(self._settings)
        if published is None:
            packed = bento.own_bundle()
            return packed is not None and self.current is None and self._try("packed", packed)
        if published == self._seen and time.monotonic() < self._again_at:
            return False
        self._again_at = math.inf
        self._seen = published
        tag = published[0]
        if self.current is not None and self.current.tag == tag:
            self._accept()  # published again, or rolled back to what never stopped serving
            return False
        return self._take_back(tag) or self._try(tag) or self._serve_another(tag)

    def _take_back(self, tag: str) -> bool:
        """Whether this is the bundle that served before: it has passed its trial, and nothing has to be read. Unless
        other files have been put in its place since, by somebody who repaired it."""
        before = self.before
        if before is None or before.tag != tag:
            return False
        if not before.bundle.catalogue.is_still_in(bento.bundle_dir(self._settings, tag)):
            return False
        self._put_in_service(before)
        log.info("bundle %s serves again: champion %s", tag, before.record.champion)
        return True

    def _try(self, tag: str, folder: Path | None = None) -> bool:
        """Load, test and swap in; False, with the reason kept, if the bundle is no good."""
        started = time.monotonic()
        serving = self._sound(tag, folder)
        if serving is None:
            give_back_memory()  # of what was read of it
            return False
        if self.current is None:
            # Code and libraries live as long as the process: collections, which stop every request for that long, need
            # not walk them. Only once: it would also keep for good what is garbage at the moment.
            gc.collect()
            gc.freeze()
        self._put_in_service(serving)
        took = time.monotonic() - started
        self._metrics.load_seconds.set(took)
        log.info(
            "bundle %s serves: champion %s, %d videos, loaded in %.2f s",
            tag, serving.record.champion, serving.record.counts["videos"], took,
        )  # fmt: skip
        return True

    def _sound(self, tag: str, folder: Path | None) -> Serving | None:
        """The bundle, read and tried; None if it is refused."""
        try:
            return self._read(tag, folder or bento.bundle_dir(self._settings, tag))
        except BundleError as error:
            self._refuse(tag, self._told(str(error)))
            self._try_again_if(isinstance(error.__cause__, OSError))
        except Exception as error:  # a bundle broken in a way nobody thought of must not end the watch
            log.exception("bundle %s cannot be taken into service", tag)
            # The log says more than strangers may.
            self._refuse(tag, f"it cannot be loaded: {type(error).__name__}")
            self._try_again_if(isinstance(error, OSError | MemoryError))
        return None

    def _read(self, tag: str, folder: Path) -> Serving:
        differs = difference(bundle.read_record(folder), self.code)
        record = bundle.verify(folder)
        if self.before is not None:  # two are held at most
            self.before = None
            give_back_memory()
        loaded = bundle.read(folder, record)
        pipeline = FeedPipeline(loaded, Ranker(loaded))
        with self.exclusions.blocked() as ids:
            pipeline.block(ids)
        smoke_test(pipeline, self.recorded, TRIAL_PAUSE_S if self.current else 0)
        return Serving(tag, pipeline, time.time(), differs)

    def _put_in_service(self, serving: Serving) -> None:
        old = self.current
        with self.exclusions.blocked() as ids:  # no change of them comes between these two
            serving.pipeline.block(ids)
            self.current = serving
        self.before = old if self._settings.keep_previous_bundle else None
        self._accept()
        if serving.code_differs:
            log.warning("bundle %s is %s", serving.tag, serving.code_differs)
        self._record_swap(old, serving)
        for tell in self._on_swap:
            tell(serving)
        del old
        if self.before is None:
            give_back_memory()

    def _block_in_service(self) -> None:
        """What is blocked has changed; called while it cannot change again."""
        if self.current is not None:
            self.current.pipeline.block(self.exclusions.blocklist.ids)

    def _serve_another(self, refused: str) -> bool:
        """A fresh endpoint whose published bundle is broken serves the newest sound one rather than nothing."""
        if self.current is not None:
            return False
        reason = self.refused
        for item in bento.stored(self._settings):
            if item.tag != refused and self._try(item.tag):
                self.refused = reason  # still true, and worth an operator's look
                self._metrics.bundle_refused.set(1)
                return True
        self.refused = reason
        return False

    def _try_again_if(self, passing: bool) -> None:
        """What may pass (a volume that does not answer), or leaves nothing in service, is tried again by itself."""
        if passing or self.current is None:
            self._again_at = time.monotonic() + RETRY_S

    def _told(self, reason: str) -> str:
        """A reason as `/health/ready` may say it to anybody: without where things lie."""
        for folder in (self._settings.home, PROJECT_ROOT):
            reason = reason.replace(f"{folder}/", "")
        return reason

    def _accept(self) -> None:
        self.refused = None
        self._metrics.bundle_refused.set(0)

    def _refuse(self, tag: str, reason: str) -> None:
        serving = self.current.tag if self.current else "nothing"
        log.error("bundle %s is refused, %s keeps serving: %s", tag, serving, reason)
        self.refused = Refusal(tag, reason)
        self._metrics.swaps.labels("refused").inc()
        self._metrics.bundle_refused.set(1)

    def _record_swap(self, old: Serving | None, new: Serving) -> None:
        self._metrics.swaps.labels("taken").inc()
        self._metrics.code_differs.set(new.code_differs is not None)
        if old is not None:
            self._metrics.bundle.remove(*_labels(old.record))
        self._metrics.bundle.labels(*_labels(new.record)).set(1)


def give_back_memory() -> None:
    """Have the allocator return what the old bundle held: it keeps it otherwise, and each swap would add some."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def _labels(record: BundleRecord) -> tuple[str, str, str]:
    return record.bundle_id, record.champion, str(record.models[record.champion].version)
