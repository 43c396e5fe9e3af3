"""Why a video is there, what is like it, and two lists side by side."""

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from .steps import FEED, card, cards


def test_why_opens_the_explanation(page, world):
    video = cards(page)[0]
    page.click(f'{card(video)} [data-ask="why"]')
    text = page.text("#details")
    for fact in ("Why this video?", "two-tower v4", "abc.dir", "run-two-tower", "What the score is made of"):
        assert fact in text
    assert page.texts("#details .parts dt")[0] == "long-term taste"
    link = page.one("#details .facts a")
    assert link.get_attribute("href") == f"{world.dagster_url}/runs/0a1b2c3d-run"
    assert page.faults() == []
    page.shot("why")
    page.press(Keys.ESCAPE)
    assert not page.one("#details").is_displayed()


@pytest.mark.parametrize("ask", ["similar", "next"])
def test_similar_and_next_are_those_of_the_api(page, world, ask):
    video = cards(page)[1]
    path = (
        f"/api/v1/recommendations/similar/{video}"
        if ask == "similar"
        else f"/api/v1/recs/{page.viewer}/{video}"
    )
    expected = httpx.get(world.endpoint_url + path, params={"limit": 8}).json()["items"]
    page.click(f'{card(video)} [data-ask="{ask}"]')
    page.wait(lambda: page.all("#details .row"), "the list")
    assert page.texts("#details .row .title") == [item["title"] for item in expected]
    page.shot(ask)


def test_two_lists_stand_side_by_side(page, world):
    page.click("#tab-compare")
    page.wait(lambda: page.texts("#compare-summary")[0], "the comparison")
    for side, variant in (("left", "today"), ("right", "by-score-alone")):
        assert page.one(f"#{side}").get_attribute("value") == f"variant:variety:{variant}"
        asked = {"user_id": page.viewer, "limit": 10, "experiment_id": f"variety:{variant}"}
        items = httpx.get(world.endpoint_url + FEED, params=asked).json()["items"]
        if variant == "by-score-alone":  # nothing left to chance: every answer is the same
            assert page.texts(f"#{side}-list .title") == [item["title"] for item in items]
            assert page.text(f"#{side}-about").startswith("SVD v3, ")
    lists = [set(page.run(f"return [...document.querySelectorAll('#{s}-list .row')].map(r => r.dataset.video)"))
             for s in ("left", "right")]  # fmt: skip
    assert page.text("#compare-summary").startswith(
        f"{len(lists[0] & lists[1])} of 10 videos are in both lists"
    )
    assert len(page.all("#left-list .alone")) == len(lists[0] - lists[1])
    assert page.faults() == []
    page.shot("compare")


def test_kinds_of_model_can_be_compared(page, world):
    page.click("#tab-compare")
    page.wait(lambda: page.texts("#compare-summary")[0], "the comparison")
    for side, kind, name in (("left", "kind:svd", "SVD v3"), ("right", "kind:two-tower", "two-tower v4")):
        page.click(f'#{side} option[value="{kind}"]')
        page.wait(
            lambda side=side, name=name: page.text(f"#{side}-about").startswith(name), f"the list of {kind}"
        )
