"""What a person does on the page, and what is then to be seen."""

import httpx
from redis import Redis
from selenium.webdriver.common.keys import Keys

from serving.acted import message
from serving.context_scripts import CHANNEL
from stack.settings import Settings
from tests.serving.conftest import wait_for

from .browser import Browser
from .world import HOSTILE

FEED = "/api/v1/recommendations/feed"
PAGE = 12
"""Videos that the page asks for at once."""


def forget(world: Settings, user: str) -> None:
    """Clear the session, and have the endpoint drop the lists it made in it."""
    with Redis.from_url(world.redis_url) as client:
        client.flushdb()
        client.publish(CHANNEL, message("another process", user))
    asked = {"user_id": user, "limit": 1}
    wait_for(
        lambda: httpx.get(world.endpoint_url + FEED, params=asked).json()["items"][0]["video_id"] == HOSTILE,
        "the list of somebody who has done nothing yet",
        timeout=10,
    )


def cards(page: Browser) -> list[str]:
    """Ids of the videos on the page, in their order."""
    return list(page.run("return [...document.querySelectorAll('#feed .card')].map(c => c.dataset.video)"))


def card(video: str) -> str:
    return f'#feed [data-video="{video}"]'


def act(page: Browser, video: str, what: str) -> None:
    """Press a button of a card and wait until the feed has answered."""
    before = len(page.all("#activity li"))
    page.click(f'{card(video)} [data-act="{what}"]')
    page.wait(lambda: len(page.all("#activity li")) == before + 1, f"an answer to {what}")


def choose(page: Browser, user: str) -> None:
    page.one("#user").clear()
    page.one("#user").send_keys(user, Keys.ENTER)
    page.wait(lambda: page.text("#feed-title") == f"Feed of {user}", f"the feed of {user}")


def met(world: Settings, user: str) -> list[str]:
    """Newest first."""
    with Redis.from_url(world.redis_url, decode_responses=True) as client:
        return list(client.lrange(f"user:{user}:recent_items", 0, -1))
