# SPDX-License-Identifier: Apache-2.0
"""The page of a bench in a real browser: nothing complains, nothing is fetched, every control works."""

import pytest

import bench_examples as examples
from headless_browser import CHROMIUM, Page
from stf_infer.bench.report import write

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt: chromium)")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    result = examples.with_rasters(folder)
    scenes = (*result.scenes, examples.scene("second"))
    return write(result.model_copy(update={"scenes": scenes}), folder)["html"]


def seen(page, selector):
    """Whether something of that kind is visible."""
    return page.evaluate(f"[...document.querySelectorAll('{selector}')].some(e => e.checkVisibility())")


def choose(page, name, value):
    page.evaluate(
        f"{{const s = document.querySelector('{name}'); s.value = '{value}'; "
        "s.dispatchEvent(new Event('change', {bubbles: true}))}"
    )


def test_the_page_works(address, tmp_path):
    with Page(address, tmp_path / "profile") as page:
        assert page.evaluate("document.title").startswith("Bench of stf-infer")
        assert all(part.startswith(("file:", "data:")) for part in page.requests)
        assert [part for part in page.requests if part.startswith("file:")] == [address.resolve().as_uri()]
        pictures = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, !!i.src])")
        assert all(done and width == examples.SIDE for done, width, has in pictures if has)
        slider_follows_keys_and_mouse(page)
        row_changes_pictures(page)
        other_choices_change_parts(page)
        assert page.problems == []


def slider_follows_keys_and_mouse(page):
    knob = ".viewer .slider input"
    place = f"Number(document.querySelector('{knob}').value)"
    shown = "document.querySelector('.viewer .slider').style.getPropertyValue('--at')"
    assert (page.evaluate(place), page.evaluate(shown)) == (50, "50%")
    page.evaluate(f"document.querySelector('{knob}').focus()")
    for _ in range(3):
        page.press("ArrowRight")
    assert (page.evaluate(place), page.evaluate(shown)) == (56, "56%")
    page.press("PageDown")
    page.press("ArrowLeft")
    assert (page.evaluate(place), page.evaluate(shown)) == (44, "44%")
    clip = "getComputedStyle(document.querySelector('.viewer .slider .over')).clipPath"
    assert "56%" in page.evaluate(clip)
    page.evaluate(f"document.querySelector('{knob}').scrollIntoView({{block: 'center'}})")
    box = page.evaluate(f"document.querySelector('{knob}').getBoundingClientRect().toJSON()")
    page.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    assert page.evaluate(place) == pytest.approx(25, abs=2)


def row_changes_pictures(page):
    def source(look):
        return page.evaluate(f"document.querySelector('.viewer .slider .{look}').src")

    def panel(key, row):
        within = f'.viewer .panels [data-row="{row}"] img[data-key="{key}"]'
        return page.evaluate(f"document.querySelector('{within}').src")

    assert source("over") == panel("prediction", 0)
    truth = page.evaluate("document.querySelector('.viewer .panels img[data-key=\"truth\"]').src")
    assert source("under") == truth
    choose(page, "#row", 1)
    assert source("over") == panel("prediction", 1) != panel("prediction", 0)
    assert seen(page, '.panels [data-row="1"]')
    assert not seen(page, '.panels [data-row="0"]')
    assert "by openvino-cpu int8" in page.evaluate("document.querySelector('.tell-left').textContent")
    choose(page, ".viewer select.right", "prediction:3")
    assert source("under") == panel("prediction", 3)
    choose(page, ".viewer select.left", "error")
    assert source("over") == panel("error", 1)
    # Densities and the timeline follow as well.
    assert seen(page, '[data-row="1"] .density')
    assert not seen(page, '[data-row="0"] .density')
    assert seen(page, '[data-row="1"] path.work')
    page.evaluate("document.querySelector('tr[data-of=\"0\"]').click()")  # a line of a table
    assert page.evaluate("document.querySelector('#row').value") == "0"
    assert seen(page, '[data-row="0"] .density')
    assert page.evaluate("[...document.querySelectorAll('.picked')].every(e => e.dataset.of === '0')")
    assert seen(page, ".picked")
    choose(page, "#row", 3)  # a baseline that was not timed
    assert not seen(page, "path.work")
    choose(page, "#row", 0)


def other_choices_change_parts(page):
    choose(page, "#metric", "ssim")
    assert seen(page, '[data-metric="ssim"] svg')
    assert not seen(page, '[data-metric="rmse"] svg')
    choose(page, "#figure", "psnr")
    assert seen(page, '[data-figure="psnr"] table')
    assert not seen(page, '[data-figure="rmse"] table')
    assert seen(page, ".viewer")
    choose(page, "#scene", 1)  # of which nothing was measured
    assert not seen(page, '[data-scene="0"] .panels')
    choose(page, "#scene", 0)
    assert seen(page, '[data-scene="0"] .panels')


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1400, True)])
def test_nothing_sticks_out_and_dark_is_dark(address, tmp_path, width, dark):
    with Page(address, tmp_path / "profile", width=width, dark=dark) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, colour[4:-1].split(","))) / 3
        assert (brightness < 60) == dark
        page.screenshot(tmp_path / "page.png", whole=False)
        assert (tmp_path / "page.png").stat().st_size > 10_000
        assert page.problems == []


def test_without_a_script_the_first_row_is_seen(address, tmp_path):
    with Page(address, tmp_path / "profile") as page:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.reload")
        page.wait()
        assert seen(page, '.panels img[data-key="truth"]')
        assert seen(page, '.panels [data-row="0"] img')
        assert not seen(page, '.panels [data-row="1"] img')
        assert not seen(page, ".slider, .bar, .copy, #metric, #figure")


def test_paper_has_no_controls(address, tmp_path):
    with Page(address, tmp_path / "profile") as page:
        page.call("Emulation.setEmulatedMedia", media="print")
        assert not seen(page, ".slider, .bar, .copy")
        assert seen(page, ".panels img")
