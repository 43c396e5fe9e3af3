"""An endpoint with a world of its own, and a window of headless Chromium, once for the session."""

from collections.abc import Iterator

import pytest

from serving import bento
from stack.settings import Settings
from tests.serving.conftest import free_port, shelve, wait_for
from tests.serving.test_endpoint import endpoint, ready

from .browser import Browser, browser, missing
from .steps import cards
from .world import BROKEN, USERS, WITH_HISTORY, page_pack

EXPERIMENTS = """
experiments:
  - id: variety
    control: today
    traffic: 0
    variants:
      - {name: today, share: 0.5}
      - {name: by-score-alone, share: 0.5, parameters: {model: svd, diversity: 0.0, exploration: 0.0}}
"""


@pytest.fixture(scope="session")
def chromium() -> None:
    """Skips, with the reason, where there is none."""
    if (absent := missing()) is not None:
        pytest.skip(absent)


@pytest.fixture(scope="session")
def world(chromium: None, tmp_path_factory: pytest.TempPathFactory, redis: Settings) -> Iterator[Settings]:
    """An endpoint with a bundle, an experiment that only testers are in, and Redis."""
    folder = tmp_path_factory.mktemp("page")
    changes = {"home": folder / "home", "endpoint_port": free_port(), "redis_port": redis.redis_port}
    settings = redis.model_copy(update=changes)
    page_pack(folder / "bundle")
    bento.publish(settings, shelve(settings, folder / "bundle"))
    settings.experiments_file.write_text(EXPERIMENTS)
    with endpoint(settings):
        wait_for(lambda: ready(settings), "the bundle", timeout=20)
        yield settings


@pytest.fixture(scope="session")
def window(chromium: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="session")
def viewers() -> Iterator[str]:
    """Of whom no test has made anything yet, and whom the models know."""
    return iter(USERS[WITH_HISTORY:])


@pytest.fixture
def page(world: Settings, window: Browser, viewers: Iterator[str]) -> Iterator[Browser]:
    """The page with the feed of a viewer of this test's own (`page.viewer`). Afterwards: a quiet console, and no
    question to anybody but the endpoint."""
    window.viewer = next(viewers)
    window.look(color_scheme="light", reduced_motion="no-preference")
    window.errors(), window.hosts()
    window.open(f"{world.endpoint_url}/#user={window.viewer}")
    window.wait(lambda: cards(window) and window.texts("#samples b"), "the first feed")
    yield window
    assert [error for error in window.errors() if BROKEN not in error] == []
    assert window.hosts() == {f"127.0.0.1:{world.endpoint_port}"}
