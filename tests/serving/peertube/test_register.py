"""Who holds a key, and what is asked of a Postgres that is down."""

import asyncio

import pytest

from serving.peertube.errors import CatalogueUnavailableError, KeyReusedError, UploadUnderWayError
from serving.peertube.register import Register
from serving.telemetry.metrics import Metrics
from stack.settings import Settings
from tests.serving.conftest import free_port

pytestmark = pytest.mark.stack


def test_a_key_is_held_by_one_and_let_go_however_its_holder_ends(empty_database: Settings) -> None:
    async def run() -> None:
        mine, theirs = (Register(empty_database.database_url, Metrics()) for _ in range(2))
        async with mine.held("key", wait_s=0):
            with pytest.raises(UploadUnderWayError):
                async with theirs.held("key", wait_s=0.2):
                    pass
            async with theirs.held("another key", wait_s=0):
                pass
        with pytest.raises(ZeroDivisionError):
            async with theirs.held("key", wait_s=2):
                raise ZeroDivisionError
        async with mine.held("key", wait_s=2):
            pass
        await mine.close()
        await theirs.close()

    asyncio.run(run())


def test_a_claim_is_fresh_once_and_stands_for_one_content(empty_database: Settings) -> None:
    async def run() -> None:
        register = Register(empty_database.database_url, Metrics())
        async with register.held("its own key", wait_s=0) as connection:  # others may be let go a moment late
            first = await register.claim(connection, "its own key", "content", "video-1")
            second = await register.claim(connection, "its own key", "content", "video-2")
            assert (first.fresh, first.video_id, first.registered) == (True, "video-1", False)
            assert (second.fresh, second.video_id) == (False, "video-1")
            with pytest.raises(KeyReusedError):
                await register.claim(connection, "its own key", "other content", "video-1")
        await register.close()

    asyncio.run(run())


def test_a_postgres_that_is_down_is_not_asked_for_a_while() -> None:
    asked = 0

    def work() -> None:
        nonlocal asked
        asked += 1
        raise OSError

    async def run() -> None:
        nowhere = f"postgresql+psycopg2://reelgraph@127.0.0.1:{free_port()}/none"
        register = Register(nowhere, Metrics())
        for _ in range(3):
            with pytest.raises(CatalogueUnavailableError):
                await register.uuid_of("v1")
        with pytest.raises(CatalogueUnavailableError):
            await register._ask(work)
        await register.close()

    asyncio.run(run())
    assert asked == 0
