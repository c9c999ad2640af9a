"""The HTML report in headless Chromium: nothing is fetched, nothing hostile acts, and a reader finds what they look for."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from evalharness.report import Items, html, of_view
from evalharness.verdict import load
from tests.report.browser import chromium, complaints, open_page, requests
from tests.report.made import Made, trained

pytestmark = pytest.mark.browser

HOSTILE = {
    0: "<script>window.hacked=1</script>",
    1: "</script><script>window.hacked=2</script><!--",
    2: '"><img src="http://evil.test/x.png" onerror="window.hacked=3">',
    3: "\x1b[31mred\x1b]8;;http://evil.test\x07",
    4: "\u202egnp.exe\u2066 hidden",
    5: "x" * 1_000_000,
    6: "half an emoji \ud83d and a NUL \x00",
    7: "{{ 7 * 7 }} ${7*7} <style>body{display:none}</style>",
    8: "]]> &lt;b&gt; &amp; \u2028 \u2029 \ufeff",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Made(n=60, slices=True, notes=(HOSTILE[1],)).arm("few-shot", right=0.4, cost=0.001)
    made.arm("tuned", "candidate", right=0.9, texts=HOSTILE, cost=0.0004, training=trained("t1", cost_usd=3.1))
    made.arm("broken", "candidate", missing=range(60), training=trained("t2", "failed", error=HOSTILE[2]))
    store, run_id = made.store(tmp_path_factory.mktemp("store"))
    view = load(store, run_id)
    return html.text(of_view(view), Items.of(view))


@pytest.fixture
def opened(browser: Chrome, page: str, tmp_path: Path) -> Chrome:
    requests(browser)
    complaints(browser)
    open_page(browser, tmp_path, page)
    return browser


def options(browser: Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#list [role=option]")


def found(browser: Chrome) -> str:
    return browser.find_element(By.ID, "found").text


def search(browser: Chrome, words: str) -> None:
    box = browser.find_element(By.ID, "q")
    box.clear()
    box.send_keys(words, Keys.ENTER)


def test_no_request_leaves_the_page_and_the_console_is_silent(opened: Chrome) -> None:
    search(opened, "desk")
    asked = [address for address in requests(opened) if not address.startswith(("file:", "data:"))]
    assert asked == []
    assert complaints(opened) == []


def test_the_policy_stops_what_would_leave_the_page(browser: Chrome, page: str, tmp_path: Path) -> None:
    open_page(browser, tmp_path, page.replace("<footer>", '<footer><img src="http://evil.test/x.png"><script>window.hacked = 9</script>'))
    assert browser.execute_script("return window.hacked") is None
    said = " ".join(entry["message"] for entry in complaints(browser))
    assert "Content Security Policy" in said


def test_hostile_outputs_are_shown_as_text(opened: Chrome) -> None:
    assert opened.execute_script("return window.hacked") is None
    assert opened.find_elements(By.CSS_SELECTOR, "img, iframe, main style, main b b") == []
    for words, shown in {
        "hacked=1": "<script>window.hacked=1</script>",
        "hacked=2": "</script><script>window.hacked=2</script><!--",
        "evil.test/x.png": '"><img src="http://evil.test/x.png"',
        "[31mred": "\\x1b[31mred\\x1b]8;;http://evil.test\\x07",
        "gnp.exe": "\\u202egnp.exe\\u2066 hidden",
        "emoji": "half an emoji \\ud83d and a NUL \\x00",
        "body{display:none}": "{{ 7 * 7 }} ${7*7} <style>body{display:none}</style>",
        "&lt;b&gt;": "]]> &lt;b&gt; &amp; \\u2028 \\u2029 \\ufeff",
        "xxxxxxxxxx": "996,000 more characters",
    }.items():
        search(opened, words)
        assert found(opened).startswith("1 of 60"), words
        detail = opened.find_element(By.ID, "detail")
        assert shown in detail.text
        assert "\x1b" not in detail.text
        assert "\u202e" not in detail.text
    width = opened.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0, "no text makes the page wider than the window"


def test_search_and_filters_find_items(opened: Chrome) -> None:
    assert found(opened) == "60 of 60 items."
    search(opened, '"ticket 17"')
    assert found(opened) == "1 of 60 items."
    assert "test ticket 17" in opened.find_element(By.ID, "detail").text
    search(opened, "nothing like this")
    assert "No item fits" in opened.find_element(By.ID, "detail").text
    search(opened, "")
    Select(opened.find_element(By.ID, "slice")).select_by_visible_text("lang=en")
    assert found(opened) == "20 of 60 items."
    Select(opened.find_element(By.ID, "show")).select_by_value("better")
    fewer = int(found(opened).split()[0])
    assert 0 < fewer < 20
    Select(opened.find_element(By.ID, "arm")).select_by_visible_text("few-shot")
    assert found(opened).startswith("0 of 60")


SELECTED = """
const chosen = document.querySelector("#list [aria-selected=true]");
return chosen && [chosen.getAttribute("aria-posinset"), chosen.id, document.getElementById("list").getAttribute("aria-activedescendant")];
"""
"""Read in one go: the list makes its rows anew whenever it scrolls."""


def selected(browser: Chrome, place: str) -> None:
    """Wait until the row at this place is the chosen one, and the one that the list says it is."""

    def there(page: Chrome) -> bool:
        found = page.execute_script(SELECTED)
        return found is not None and found[0] == place and found[1] == found[2]

    WebDriverWait(browser, 10, poll_frequency=0.05).until(there, f"row {place} is not chosen")


def test_the_keyboard_is_enough(opened: Chrome) -> None:
    box = opened.find_element(By.ID, "list")
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    selected(opened, "3")
    box.send_keys(Keys.END)
    selected(opened, "60")
    box.send_keys(Keys.HOME, Keys.ARROW_DOWN)
    selected(opened, "2")


def test_the_first_tab_stop_jumps_to_the_verdict(opened: Chrome) -> None:
    ActionChains(opened).send_keys(Keys.TAB).perform()
    assert opened.switch_to.active_element.get_attribute("class") == "skip"
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    assert opened.switch_to.active_element.get_attribute("id") == "main"


def test_headings_tables_and_pictures_have_names(opened: Chrome) -> None:
    assert len(opened.find_elements(By.TAG_NAME, "h1")) == 1
    assert opened.find_element(By.TAG_NAME, "h1").text == "Ship tuned"
    for tag in ("header", "nav", "main", "footer"):
        assert len(opened.find_elements(By.TAG_NAME, tag)) == 1
    for table in opened.find_elements(By.TAG_NAME, "table"):
        assert table.find_elements(By.TAG_NAME, "caption")
        assert table.find_elements(By.CSS_SELECTOR, "[scope=row]")
    for picture in opened.find_elements(By.TAG_NAME, "svg"):
        assert picture.get_attribute("role") == "img"
        assert picture.get_attribute("aria-label")
    for section in opened.find_elements(By.TAG_NAME, "section"):
        heading = section.get_attribute("aria-labelledby")
        assert heading
        assert opened.find_elements(By.ID, heading)


def test_the_first_screen_says_what_to_ship_how_sure_and_what_it_costs(opened: Chrome) -> None:
    for name in (".verdict h1", ".verdict .headline", ".facts", "#leaderboard tbody tr:first-child"):
        element = opened.find_element(By.CSS_SELECTOR, name)
        assert element.rect["y"] + element.rect["height"] <= 800, f"{name} is below the first screen"
    facts = opened.find_element(By.CSS_SELECTOR, ".facts").text
    assert "95% interval" in facts
    assert "$3.10" in facts
    assert "1,000 answers: $0.40; few-shot $1.00" in facts


CONTRASTS = """
const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = (rgb) => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const found = parse(getComputedStyle(node).backgroundColor);
    if (found.length < 4 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("h1, h2, p, dd, dt, td, th, a, caption, li, small, summary, .badge")]
  .filter((node) => node.innerText && node.checkVisibility() && node.className !== "skip")
  .map((node) => {
    const [one, other] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), node.tagName + ": " + node.innerText.slice(0, 40)];
  });
"""
"""WCAG 2.1's contrast of every text with what is behind it."""


@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("light", "print"), ("dark", "print")])
def test_every_text_can_be_read_in_light_in_dark_and_on_paper(opened: Chrome, scheme: str, media: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    try:
        found = opened.execute_script(CONTRASTS)
        background = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert len(found) > 60
    worst = min(found)
    assert worst[0] >= 4.5, worst
    bright = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) > 600
    assert bright == (media == "print" or scheme == "light")


def test_it_prints_on_paper_without_what_only_a_screen_can_do(opened: Chrome) -> None:
    pdf = base64.b64decode(opened.print_page())
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    try:
        assert not opened.find_element(By.ID, "items").is_displayed()
        assert opened.find_element(By.CSS_SELECTOR, ".facts").is_displayed()
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.slow
def test_ten_thousand_items_stay_smooth(browser: Chrome, tmp_path: Path) -> None:
    """Loading, searching and scrolling through 10,000 items with answers of three arms; frames are counted while it scrolls."""
    row = ["answer number %d with some more words to look through, as answers have", "stop", 0, [1]]
    rows = tuple(
        [f"id{i}", f"question {i} " + "word " * 40, f"target {i}", ["de" if i % 3 else "en"], [[str(row[0]) % i, "stop", 0, [i % 2]]] * 3]
        for i in range(10_000)
    )
    made = Made(n=30).arm("few-shot").arm("tuned", "candidate", right=0.9)
    store, run_id = made.store(tmp_path)
    items = Items(("few-shot", "tuned", "third"), ("exact_match",), ("lang",), "few-shot", 10_000, rows)
    began = time.perf_counter()
    open_page(browser, tmp_path, html.text(of_view(load(store, run_id)), items))
    assert found(browser) == "10,000 of 10,000 items."
    loaded = time.perf_counter() - began
    assert len(options(browser)) < 40, "only what is seen is in the page"
    searched, scrolled, frames = browser.execute_async_script(SMOOTH)
    print(f"\n10,000 items: open {loaded:.2f} s, a search {searched:.0f} ms, {frames} frames in {scrolled:.0f} ms of scrolling")
    assert loaded < 5
    assert searched < 500
    assert frames / scrolled * 1000 > 25


SMOOTH = """
const done = arguments[0], list = document.getElementById("list"), form = document.getElementById("filters");
document.getElementById("q").value = "number 99";
let start = performance.now();
form.requestSubmit();
const searched = performance.now() - start;
document.getElementById("q").value = "";
form.requestSubmit();
let frames = 0;
start = performance.now();
const step = () => {
  frames += 1;
  list.scrollTop += 400;
  if (frames < 60) requestAnimationFrame(step); else done([searched, performance.now() - start, frames]);
};
requestAnimationFrame(step);
"""
