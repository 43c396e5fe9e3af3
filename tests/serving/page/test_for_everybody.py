"""Hostile texts, broken pictures, keyboards, small and dark screens, no motion."""

import pytest
from selenium.webdriver.common.keys import Keys

from .steps import act, card, cards, has_met
from .world import HOSTILE, HOSTILE_TITLE


def test_a_hostile_title_is_text(page):
    assert HOSTILE in cards(page)
    assert page.texts(f"{card(HOSTILE)} .title") == [HOSTILE_TITLE]
    for ask in ("why", "similar"):
        page.click(f'{card(HOSTILE)} [data-ask="{ask}"]')
        assert page.texts("#details .subject") == [HOSTILE_TITLE]
        page.press(Keys.ESCAPE)
    act(page, HOSTILE, "like")
    assert HOSTILE_TITLE in page.texts("#activity li")[0]
    assert page.run("return window.hacked") is None
    assert page.all("#feed script, #feed img[onerror], #activity img, #details script") == []


def test_a_picture_that_does_not_load_is_not_missed(page):
    """Nor is one asked for at an address that is none."""
    while page.one("#more").is_displayed():
        known = len(cards(page))
        page.click("#more")
        page.wait(
            lambda known=known: len(cards(page)) > known or not page.one("#more").is_displayed(), "the rest"
        )
    for element in page.all("#feed .card"):
        page.run("arguments[0].scrollIntoView()", element)
    page.wait(lambda: page.all(f"{card(HOSTILE)} img.loaded"), "the picture")
    script = "return [...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length"
    page.wait(lambda: page.run(script) == 0, "broken pictures to go")
    assert page.run("return window.hacked") is None


def test_the_keyboard_is_enough(page, world):
    """From the address bar on: skip to the feed, like the first video, open why and come back."""
    first = cards(page)[0]
    page.press(Keys.TAB, Keys.ENTER)
    focused = "return document.activeElement.closest('.card')?.dataset.video + ' ' + document.activeElement.dataset.act"
    for _ in range(3):
        page.press(Keys.TAB)
    assert page.run(focused) == f"{first} like"
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.press(Keys.ENTER)
    page.wait(lambda: first not in cards(page), "the liked video to leave")
    page.wait(lambda: page.run(focused) == f"{cards(page)[0]} like", "the focus on the card in its place")
    has_met(world, page.viewer, first)
    for _ in range(4):
        page.press(Keys.TAB)
    assert page.run("return document.activeElement.dataset.ask") == "why"
    page.press(Keys.ENTER)
    page.wait(lambda: page.one("#details").is_displayed(), "the dialog")
    assert page.run("return document.activeElement.id") == "details-close"
    page.press(Keys.ENTER)
    page.wait(
        lambda: page.run("return document.activeElement.dataset.ask") == "why", "the focus where it was"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (768, 1024), (390, 844), (320, 640)])
def test_it_can_be_read_and_used_at_any_width_in_light_and_dark(page, scheme, width, height):
    page.look(width, height, color_scheme=scheme)
    act(page, cards(page)[1], "like")
    page.run("scrollTo(0, 0)")
    for view in ("feed", "compare"):
        page.click(f"#tab-{view}")
        page.wait(lambda view=view: view == "feed" or page.all("#right-list .row"), "the lists")
        page.shot(f"{view}-{width}-{scheme}")
        assert page.faults() == []
        assert page.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    dark = page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 20)"
    assert dark == (scheme == "dark")


def test_the_checks_find_what_is_wrong(page):
    """Else their silence says nothing."""
    page.run(
        "document.querySelector('main').insertAdjacentHTML('beforeend', `<p style='color: #aaa'>pale</p>"
        "<button></button><h6>deep</h6><img src='/static/demo/icon.svg'><i id='feed'></i>`)"
    )  # the style itself is refused by the policy: set below
    page.run("document.querySelector('main > p').style.color = '#aaa'")
    faults = " ".join(page.faults())
    for fault in ("contrast 2", "no name: <button", "a picture without a text", "the id feed is there twice"):
        assert fault in faults
    page.errors()  # the policy's complaint


def test_whoever_wants_no_motion_gets_none(page):
    page.look(color_scheme="light", reduced_motion="reduce")
    page.run(
        "window.moved = 0; const plain = Element.prototype.animate;"
        "Element.prototype.animate = function (...given) { window.moved += 1; return plain.apply(this, given); }"
    )
    for _ in range(3):
        act(page, cards(page)[0], "like")
    assert page.run("return window.moved") == 0
