"""What a viewer does changes the feed at once, and is told."""

import pytest

from .steps import PAGE, act, card, cards, has_met


@pytest.mark.parametrize(
    ("what", "done"),
    [
        ("like", "Liked"),
        ("skip", "Skipped"),
        ("watch", "Watched"),
        ("glance", "Glanced at"),
        ("save", "Saved"),
        ("report", "Reported"),
    ],
)
def test_an_act_changes_the_feed_at_once(page, world, what, done):
    video = cards(page)[2]
    title = page.texts(f"{card(video)} .title")[0]
    act(page, video, what)
    assert video not in cards(page)
    assert len(cards(page)) == PAGE
    assert page.text("#activity li").startswith(f"{done} {title}")
    has_met(world, page.viewer, video)
    if what == "like":
        page.shot("liked")


def test_what_moved_is_marked_and_told(page):
    """Likes of one category pull others of it up: some act of a few must move something."""
    for _ in range(4):
        act(page, cards(page)[1], "like")
        if page.all("#feed .moved:not([hidden])"):
            break
    marks = page.texts("#feed .moved:not([hidden])")
    assert marks
    assert all(mark == "new" or mark[0] in "▲▼" for mark in marks)
    outcome = page.text("#activity li:first-child span")
    assert sum(int(word) for word in outcome.replace(",", "").split() if word.isdigit()) == len(marks)
    page.wait(lambda: outcome in page.texts("#live")[0], "the announcement")
    page.shot("moved")


def test_two_acts_at_once_are_both_sent(page, world):
    one, two = cards(page)[:2]
    script = 'for (const id of arguments) document.querySelector(`#feed [data-video="${id}"] [data-act=like]`).click()'
    page.run(script, one, two)
    page.wait(lambda: not {one, two} & set(cards(page)), "both to leave")
    has_met(world, page.viewer, one, two)
    assert len(page.all("#activity li")) == 2


def test_an_act_that_fails_is_told_and_the_card_stays(page):
    video = cards(page)[0]
    page.run("window.fetch = () => Promise.reject(new TypeError('no network'))")
    page.click(f'{card(video)} [data-act="like"]')
    page.wait(lambda: page.text("#problem") == "The endpoint cannot be reached.", "the problem")
    assert cards(page)[0] == video
    assert page.one(card(video)).get_attribute("aria-busy") is None
