"""Headless Chromium for tests of the HTML report.

>>> with chromium() as browser:                                                                       # doctest: +SKIP
...     browser.get(path.as_uri())
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--window-size=1280,800", "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip


@contextmanager
def chromium(*more: str) -> Iterator[Chrome]:
    """A browser with an empty profile that keeps its console and network logs. Fails with what to install if there is none."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or program is None:
        raise RuntimeError("the report's tests need a browser: apt-get install -y chromium chromium-driver")
    with TemporaryDirectory() as profile:
        options = ChromeOptions()
        options.binary_location = program
        for argument in (*QUIET, f"--user-data-dir={profile}", *more):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = Chrome(options=options, service=Service(driver))
        try:
            yield browser
        finally:
            browser.quit()


def requests(browser: Chrome) -> list[str]:
    """The addresses that the browser asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def complaints(browser: Chrome) -> list[dict[str, Any]]:
    """What the page wrote to the console since the last call: errors, policy violations, warnings."""
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]


def open_page(browser: Chrome, folder: Path, text: str) -> Path:
    """Load the page from a file of its own."""
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    browser.get(path.as_uri())
    return path
