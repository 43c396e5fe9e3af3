"""A headless Chromium for pages of the endpoint, and what any page must keep to: names, contrast, silence."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from stack.settings import PROJECT_ROOT

SCREENSHOTS = PROJECT_ROOT / "build" / "screenshots"
CHECKS = (Path(__file__).parent / "checks.js").read_text()
WAIT_S = 20


def missing() -> str | None:
    """What there is no browser without, None if all is there."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return (
        f"no {' and no '.join(absent)} here (Debian: apt-get install chromium chromium-driver)"
        if absent
        else None
    )


class Browser:
    """One window; `viewer` is whom its test watches as. `errors` and `hosts` tell what the page complained of and whom
    it asked."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.viewer = ""

    def look(self, width: int = 1280, height: int = 900, **media: str) -> None:
        """Size of the window and what the page is told of its viewer: `color_scheme`, `reduced_motion`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        features = [{"name": f"prefers-{k.replace('_', '-')}", "value": v} for k, v in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url: str) -> None:
        """Load a page anew, though only its fragment may differ."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.one(selector).text)

    def texts(self, selector: str) -> list[str]:
        """Of every element as it stands in the document, however little of it is shown."""
        return list(
            self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)
        )

    def click(self, selector: str) -> None:
        element = self.one(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def press(self, *keys: str) -> None:
        """On whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def wait(self, until: Callable[[], Any], what: str) -> Any:
        waiting = WebDriverWait(self.driver, WAIT_S, 0.05, [StaleElementReferenceException])
        return waiting.until(lambda _: until(), what)

    def shot(self, name: str) -> None:
        """The page as it looks, once nothing moves any more, into build/screenshots."""
        self.wait(lambda: not self.run("return document.getAnimations().length"), "a still page")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def faults(self) -> list[str]:
        """What keeps somebody from reading or using the page as it stands, a line each."""
        return list(self.run(CHECKS))

    def errors(self) -> list[str]:
        """What the console complained of since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts(self) -> set[str]:
        """Host and port of everything that was asked for since the last call."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urlsplit(message["params"]["request"]["url"])
                if url.scheme not in ("data", "about", "blob"):
                    found.add(url.netloc)
        return found


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.add_argument("--headless=new")
    options.add_argument(f"--user-data-dir={profile}")
    for name in ("disable-gpu", "disable-dev-shm-usage", "hide-scrollbars", "no-first-run"):
        options.add_argument(f"--{name}")
    for name in (
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-proxy-server",
    ):
        options.add_argument(f"--{name}")
    if os.geteuid() == 0:  # Chromium's sandbox does not run as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
