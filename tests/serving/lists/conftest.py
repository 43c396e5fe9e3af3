"""A Redis that is not there, and users of each test."""

import pytest

from ..conftest import free_port


@pytest.fixture
def nowhere(redis):
    """Settings of a Redis that is not there."""
    return redis.model_copy(update={"redis_port": free_port()})


@pytest.fixture
def user(request):
    """A user of each test's own: Redis stays up between them."""
    return f"user of {request.node.name}"
