"""What a person does on the page, and what is then to be seen."""

from redis import Redis
from selenium.webdriver.common.keys import Keys

from stack.settings import Settings
from tests.serving.conftest import wait_for

from .browser import Browser

FEED = "/api/v1/recommendations/feed"
PAGE = 12
"""Videos that the page asks for at once."""


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


def has_met(world: Settings, user: str, *videos: str) -> None:
    """Wait until Redis knows that the user met these videos and no others."""
    with Redis.from_url(world.redis_url, decode_responses=True) as client:
        key = f"user:{user}:recent_items"
        wait_for(
            lambda: sorted(client.lrange(key, 0, -1)) == sorted(videos),  # type: ignore[arg-type]
            f"{videos} in {key}",
            timeout=10,
        )
