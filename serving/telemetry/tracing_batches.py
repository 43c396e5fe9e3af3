"""Spans of work that is done now and then for all who asked meanwhile, such as shipping a segment of a spool."""

from collections import deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from opentelemetry.trace import SpanContext

from serving.telemetry import tracing

P = ParamSpec("P")
R = TypeVar("R")


class BatchSpans:
    """Knows which traced requests wait for the next batch. May be used from several threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: deque[SpanContext] = deque(maxlen=tracing.MAX_LINKS)

    def asked(self) -> None:
        """The current request has something in the next batch."""
        if (request := tracing.current()) is not None:
            self._asked.append(request)

    def around(self, work: Callable[P, R]) -> Callable[P, R]:
        """`work` in a span: of the trace of the only request that asked, else linked to those that did. After an error
        the next try is for them too."""

        def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            parents = [self._asked.popleft() for _ in range(len(self._asked))]
            try:
                with tracing.batch_span(self._name, parents):
                    return work(*args, **kwargs)
            except Exception:
                self._asked.extendleft(reversed(parents))
                raise

        return traced
