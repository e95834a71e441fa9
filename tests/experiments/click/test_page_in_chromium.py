"""The page in a real browser: real clicks, a box, the keyboard, a file that is no photo, two visitors, no network."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from experiments.click.answer import Answerer
from experiments.click.command import serving
from experiments.click.panels import headline
from experiments.click.state import Ask, Session
from segmenters.prompts import Prompt

pytest.importorskip("selenium", reason="selenium is not installed: no browser to drive")

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 30  # for one answer, on a busy machine
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    # Not imported here: it takes seconds, and one of several processes runs these tests.
    pytest.mark.skipif(
        find_spec("gradio") is None, reason="gradio is not installed (requirements-app.txt): no page to test"
    ),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="chromium or chromedriver is not installed: no browser to drive"
    ),
    pytest.mark.filterwarnings("ignore::Warning:gradio.queueing"),  # of pandas, to gradio
]


class Page:
    """One browser on the page."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def wait(self, ready: Callable[[], object]) -> None:
        WebDriverWait(self.browser, SECONDS, 0.02).until(lambda _browser: ready())

    def open(self, address: str) -> None:
        self.browser.get(address)
        self.wait(lambda: self.all(".rv-stage:not([hidden])"))

    def replies(self) -> int:
        return int(self.one("[data-state]").get_attribute("data-replies") or 0)

    def answered(self, act: Callable[[], object]) -> str:
        """Do something, wait for the program's reply, and return the line below the photo."""
        before = self.replies()
        act()
        self.wait(lambda: self.replies() > before)
        return self.text(".rv-status") or self.text(".rv-alert")

    def mouse(self, x: float, y: float) -> ActionChains:
        """Move the mouse to a place of the photo, given in parts of its sides."""
        stage = self.one(".rv-stage")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
        size = stage.size
        offset = round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])
        return ActionChains(self.browser, duration=20).move_to_element_with_offset(stage, *offset)

    def asked_for(self) -> set[str]:
        """Return where the browser asked for something since the last call, by scheme and host; not within the page."""
        log = self.browser.execute("getLog", {"type": "performance"})["value"]
        messages = [json.loads(entry["message"])["message"] for entry in log]
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {"/".join(url.split("/")[:3]) for url in urls if not url.startswith(("data:", "blob:"))}


@pytest.fixture(scope="module")
def address(answerer: Answerer) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(answerer, "127.0.0.1", port) as url:
        yield url


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1280,800",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    browser = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Page(browser)
    finally:
        browser.quit()


def place(answerer: Answerer, number: int) -> tuple[float, float]:
    """Return the middle of the known food of an example, in parts of the photo's sides."""
    mask = answerer.examples[number].mask
    assert mask is not None
    rows, columns = np.nonzero(mask)
    return (columns.mean() + 0.5) / mask.shape[1], (rows.mean() + 0.5) / mask.shape[0]


def expected(answerer: Answerer, number: int) -> str:
    """Return what the program says, without a browser, to a click into the middle of that food."""
    session = answerer.open_example(Session(), number)
    assert session.photo is not None
    (x, y), (height, width) = place(answerer, number), session.photo.shape[:2]
    _, answer = answerer.answer(session, Ask(session.key, Prompt(((x * width, y * height),), (1,))))
    return headline(answer, answerer.predictor.classes)


def test_a_person_clicks_and_is_answered(answerer: Answerer, address: str, page: Page, tmp_path: Path) -> None:
    page.open(address)
    assert page.text("h1") == "What is this food?"
    told = page.answered(page.mouse(*place(answerer, 0)).click().perform)
    assert told.startswith(expected(answerer, 0))
    assert page.text(".rv-pick") == told.rpartition(",")[0]
    assert len(page.all(".rv-bars li")) == len(answerer.predictor.classes)
    assert len(page.all(".rv-table thead th")) == 4  # its own, none, another photo's
    page.wait(lambda: len(page.all("#rv-maps img")) == 2)

    page.answered(page.mouse(0.02, 0.02).context_click().perform)
    assert [mark.text for mark in page.all(".rv-mark")] == ["+", "−"]
    assert page.text(".rv-count").startswith("2 clicks, one region")
    page.one(".rv-copy").click()
    row = page.one(".rv-row input").get_attribute("value") or ""
    assert row.startswith(answerer.examples[0].file + ",,")
    assert row.endswith(",1; 0,")
    page.answered(page.one(".rv-undo").click)
    assert [mark.text for mark in page.all(".rv-mark")] == ["+"]
    assert page.browser.save_screenshot(str(tmp_path / "page.png"))
    assert page.asked_for() == {address.rstrip("/")}


def test_a_box_is_drawn_with_the_mouse(answerer: Answerer, address: str, page: Page) -> None:
    page.open(address)
    x, y = place(answerer, 0)
    drag = page.mouse(x - 0.16, y - 0.2).click_and_hold()
    size = page.one(".rv-stage").size
    drag.move_by_offset(round(0.32 * size["width"]), round(0.4 * size["height"])).release()
    told = page.answered(drag.perform)
    assert told.partition(",")[0] in answerer.predictor.classes
    assert len(page.all(".rv-box")) == 1
    assert not page.all(".rv-mark")


def test_the_keyboard_does_what_the_mouse_does(answerer: Answerer, address: str, page: Page) -> None:
    page.open(address)
    stage = page.one(".rv-stage")
    before = (0.5, 0.5)
    goal = place(answerer, 0)
    width, height = (answerer.examples[0].photo.shape[i] for i in (1, 0))
    keys = []
    for axis, (less, more) in enumerate(((Keys.ARROW_LEFT, Keys.ARROW_RIGHT), (Keys.ARROW_UP, Keys.ARROW_DOWN))):
        steps = round((goal[axis] - before[axis]) * (width, height)[axis] / (0.02 * max(width, height)))
        keys += [more if steps > 0 else less] * abs(steps)
    told = page.answered(lambda: stage.send_keys(*keys, Keys.ENTER))
    assert told.partition(",")[0] == expected(answerer, 0).partition(",")[0]
    assert stage == page.browser.switch_to.active_element
    assert stage.value_of_css_property("outline-style") == "solid"
    stage.send_keys(*[Keys.ARROW_LEFT] * 30, *[Keys.ARROW_UP] * 30)
    page.answered(lambda: stage.send_keys(Keys.SHIFT, Keys.ENTER))
    assert [mark.text for mark in page.all(".rv-mark")] == ["+", "−"]
    page.answered(lambda: stage.send_keys(Keys.NULL, Keys.DELETE))
    assert not page.all(".rv-mark")
    stage.send_keys("b", *[Keys.ARROW_RIGHT] * 6, *[Keys.ARROW_DOWN] * 5)
    box = page.one(".rv-box").size
    assert box["width"] > box["height"] > 0
    stage.send_keys(Keys.ESCAPE)
    assert not page.all(".rv-box")
    assert page.text("#rv-answer h2") == "No answer yet"


def test_mistakes_are_told_in_the_page(answerer: Answerer, address: str, page: Page, tmp_path: Path) -> None:
    page.open(address)
    told = page.answered(page.mouse(0.5, 0.5).context_click().perform)
    assert told == "First click on the food, or draw a box."
    assert page.one(".rv-alert").get_attribute("role") == "alert"
    (tmp_path / "menu.txt").write_text("not a photo", encoding="utf-8")
    upload = page.one("input[type=file]")
    assert upload.get_attribute("accept") == "image/*"
    told = page.answered(lambda: upload.send_keys(str(tmp_path / "menu.txt")))
    assert told.startswith("menu.txt: not a picture")
    assert page.answered(page.mouse(*place(answerer, 0)).click().perform) != told


def test_two_visitors_do_not_meet(answerer: Answerer, address: str, page: Page) -> None:
    page.open(address)
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.open(address)
    page.answered(page.all(".rv-examples button")[1].click)
    page.mouse(*place(answerer, 1)).click().perform()
    second = page.browser.current_window_handle
    page.browser.switch_to.window(first)
    told_first = page.answered(page.mouse(*place(answerer, 0)).click().perform)
    assert told_first.startswith(expected(answerer, 0))
    page.browser.switch_to.window(second)
    page.wait(lambda: page.all(".rv-mask:not([hidden])"))
    assert page.text(".rv-status").startswith(expected(answerer, 1))
