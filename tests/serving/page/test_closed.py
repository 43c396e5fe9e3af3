"""An endpoint that asks who is there, and has nothing to show at first."""

import time
from collections.abc import Iterator

import jwt
import pytest
from selenium.webdriver.common.keys import Keys

from serving import bento
from stack.settings import Settings
from tests.serving.conftest import free_port, shelve
from tests.serving.test_endpoint import endpoint

from .steps import PAGE, cards
from .world import page_pack


@pytest.fixture(scope="module")
def closed(chromium: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An endpoint that asks who is there, without a bundle and without Redis."""
    folder = tmp_path_factory.mktemp("closed")
    changes = {"redis_port": free_port(), "endpoint_port": free_port()}
    secret = {"jwt_algorithm": "HS256", "jwt_secret": "s" * 32}
    settings = Settings(_env_file=None, home=folder / "home", **changes, **secret)
    with endpoint(settings):
        yield settings


def _token(settings: Settings, user: str) -> str:
    claims = {"sub": user, "aud": settings.jwt_audience, "exp": time.time() + 600, "roles": ["client"]}
    assert settings.jwt_secret
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), "HS256")


def test_a_closed_endpoint_is_opened_by_a_token_that_only_this_tab_keeps(closed, window, tmp_path):
    window.look(color_scheme="light")
    window.open(closed.endpoint_url)
    window.wait(lambda: window.one("#token").is_displayed(), "the question for a token")
    assert "token" in window.text("label[for=token]")
    window.one("#token").send_keys(_token(closed, "viewer-00"), Keys.ENTER)
    window.wait(lambda: "no bundle" in window.text("#problem"), "the endpoint to say that it has no bundle")

    page_pack(tmp_path / "bundle")
    bento.publish(closed, shelve(closed, tmp_path / "bundle"))
    window.wait(lambda: len(cards(window)) == PAGE, "the feed, without another press")
    assert not window.one("#problem").is_displayed()
    assert not window.one("#token").is_displayed()
    assert window.text("#feed-title") == "Feed of viewer-00"  # whom the token is for
    assert window.text('[data-fact="state"] dd') == "degraded"
    assert window.text("#degraded").startswith("Degraded: ")
    window.shot("degraded")

    kept = "return [sessionStorage.length, localStorage.length, document.cookie]"
    assert window.run(kept) == [1, 0, ""]
    window.errors(), window.hosts()  # the refusals are in the console, and must be


def test_somebody_elses_feed_is_refused_in_words(closed, window):
    window.wait(lambda: cards(window), "the feed of before")
    window.one("#user").clear()
    window.one("#user").send_keys("viewer-01", Keys.ENTER)
    window.wait(lambda: window.one("#problem").is_displayed(), "the refusal")
    assert "may not" in window.text("#problem")
    window.errors(), window.hosts()
