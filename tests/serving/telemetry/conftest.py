"""Logging as it was before a test that configures it."""

import logging
from collections.abc import Iterator

import pytest

from serving.telemetry import logs


@pytest.fixture
def restored_logging() -> Iterator[None]:
    loggers = [
        logging.getLogger(n)
        for n in ("", "serving", "ingestion", "data_quality", "ml", "stack", *logs._FOREIGN)
    ]
    before = [(one, one.level, one.handlers[:], one.propagate) for one in loggers]
    yield
    logging.captureWarnings(False)
    for one, level, handlers, propagate in before:
        one.setLevel(level)
        one.handlers[:] = handlers
        one.propagate = propagate
