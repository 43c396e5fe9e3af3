"""Whom the endpoint must not know and what it must not show: the opt-out list and the block list, kept up to date.

By a thread of their own: an erasure must not wait until a large bundle has been read and tried.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.blocklist import Blocklist
from serving.opt_out import OptOut
from serving.repeated import Repeated
from stack.erased_users import opt_out_file
from stack.settings import Settings


class Exclusions:
    """Both lists as they are in force."""

    def __init__(self, settings: Settings, poll_s: float) -> None:
        self.opt_out = OptOut(opt_out_file(settings))
        self.blocklist = Blocklist(settings.blocked_videos_file)
        self._lock = threading.Lock()
        self._on_erased: list[Callable[[], None]] = []
        self._on_blocked: list[Callable[[], None]] = []
        self._watch = Repeated("exclusions-watcher", poll_s, self.refresh)
        self.start, self.stop = self._watch.start, self._watch.stop

    def on_erased(self, tell: Callable[[], None]) -> None:
        """Call `tell`, from whatever thread refreshes, each time other users are erased."""
        self._on_erased.append(tell)

    def on_blocked(self, tell: Callable[[], None]) -> None:
        """The same for blocked videos; in the order of these calls."""
        self._on_blocked.append(tell)

    def refresh(self) -> None:
        """Take up what has changed in either file."""
        with self._lock:
            before = self.opt_out.version
            self.opt_out.refresh()
            told = self._on_erased if self.opt_out.version != before else []
            if self.blocklist.refresh():
                told = [*told, *self._on_blocked]
            for tell in told:
                tell()

    @contextmanager
    def blocked(self) -> Iterator[frozenset[str]]:
        """The ids of blocked videos, which are in force for as long as the body runs."""
        with self._lock:
            yield self.blocklist.ids
