"""The page as a person meets it: opened from the disk in a browser, wide and on a phone, light and dark."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from sottovoce.report import Story, render
from sottovoce.report.quality import SIDES

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}

HEAR = """audio => audio.map(async one => {
    const known = new Promise(done => one.addEventListener('loadedmetadata', done, {once: true}));
    if (!(one.duration > 0)) await known;
    const bytes = await (await fetch(one.src)).arrayBuffer();
    const decoder = new OfflineAudioContext(1, 1, 16000);
    const wave = (await decoder.decodeAudioData(bytes)).getChannelData(0);
    const rms = Math.sqrt(wave.reduce((sum, x) => sum + x * x, 0) / wave.length);
    return {duration: one.duration, samples: wave.length, rms, error: one.error && one.error.message};
})"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail(
            "no Chromium found: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
        )
    with sync_playwright() as playwright:
        # The sandbox of Chromium refuses to run as root, which is what containers run as.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(story: Story, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(story), "utf-8")
    return path.as_uri()


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    with chromium.new_context(viewport=WIDE) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)        # a machine that is busy plays late
        page.goto(address)
        yield page


def test_opens_without_a_complaint_and_without_the_network(chromium: Browser, address: str) -> None:
    complaints, requests = [], []
    with chromium.new_context(viewport=WIDE) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.mouse.wheel(0, 10000)
        page.wait_for_load_state("networkidle")
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", address))] == []


def test_every_player_has_sound(page: Page, story: Story) -> None:
    players = page.locator("audio")
    heard = players.evaluate_all(f"async audio => Promise.all(({HEAR})(audio))")
    assert len(heard) == 4 * len(story.examples)
    for sound in heard:
        assert sound["error"] is None
        assert sound["duration"] == pytest.approx(2.0, abs=0.02)
        assert sound["samples"] == pytest.approx(32000, abs=32)
        assert sound["rms"] > 0.005


def test_a_click_into_a_picture_plays_and_another_version_goes_on_from_there(page: Page) -> None:
    first, second = page.locator(".example").first.locator(".version").all()[:2]
    # A busy machine may look only after the end: what has ended has played.
    playing = "audio => audio.currentTime > 0.9 && (!audio.paused || audio.ended)"
    first.locator(".spectrogram").click()
    page.wait_for_function(playing, arg=first.locator("audio").element_handle())
    second.locator("audio").evaluate("audio => audio.play()")
    page.wait_for_function(playing, arg=second.locator("audio").element_handle())
    assert first.locator("audio").evaluate("audio => audio.paused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_everything_is_in_sight(
    chromium: Browser, address: str, scheme: str, viewport: dict[str, int]
) -> None:
    with chromium.new_context(viewport=viewport, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        overflow = page.evaluate("""[...document.querySelectorAll('body *')]
            .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5 && !one.closest('svg, thead'))
            .map(one => one.outerHTML.slice(0, 90))""")
        plots = page.locator(".plot, .plot svg").all()
        boxes = [plot.bounding_box() for plot in plots]
        pictures = page.locator("img").evaluate_all(
            "all => all.map(one => one.naturalWidth * one.naturalHeight)"
        )
        contrast = page.evaluate(CONTRAST)
    assert overflow == []
    assert len(plots) > 30
    assert all(box and box["width"] > 20 and box["height"] >= 10 for box in boxes)
    assert len(pictures) == 8 and min(pictures) > 10000
    assert min(contrast) >= 4.5


# Contrast of the text colours against the two backgrounds, as WCAG 2 defines it; 4.5 is its level AA.
CONTRAST = """() => {
    const style = getComputedStyle(document.documentElement);
    const linear = x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const luminance = name => style.getPropertyValue(name).match(/[0-9a-f]{2}/gi)
        .map(part => linear(parseInt(part, 16) / 255))
        .reduce((sum, x, at) => sum + x * [0.2126, 0.7152, 0.0722][at], 0);
    const contrast = (one, other) =>
        (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    return ['--ink', '--quiet', '--compressed', '--noisy', '--uncompressed'].flatMap(text =>
        ['--paper', '--card'].map(ground => contrast(luminance(text), luminance(ground))));
}"""


def test_tables_carry_the_numbers(page: Page, story: Story) -> None:
    line = story.comparison["metrics"]["pesq_wb"]
    first = page.locator("#quality > table tbody tr").first.locator("td").all_inner_texts()
    assert [cell.strip() for cell in first[:3]] == [f"{line[side]:.2f}" for side in SIDES]
    assert page.locator("#quality details.group").count() == 3
    assert page.locator("#ledger tbody tr").count() == len(story.rows)
    assert page.locator("#layers tbody tr").count() == len(story.tensors)
    assert "141 kB" in page.locator(".lead").inner_text()
