"""The jobs page in a real browser: progress, cancelling, and results as the library gives them."""

import re
import zipfile

import pytest
from playwright.sync_api import expect

from protos import segmatte_pb2 as wire
from tests.integration.web.conftest import FIRST_FRAME, FRAMES, open_page
from tests.system.serving import request, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

WAIT = 600_000
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
ENDED = (wire.DONE, wire.CANCELLED, wire.FAILED)


def submit(site, *, frames=FRAMES, **more):
    chosen = wire.FrameRange(first=FIRST_FRAME, last=FIRST_FRAME + frames - 1)
    settings = wire.ShotSettings(working_size=512)
    with site.server.client() as client:
        return client.submit(request(site.plate, range=chosen, settings=settings, **more)).id


@pytest.fixture(scope="module")
def done(site):
    """A finished job of two frames."""
    job_id = submit(site, frames=2)
    with site.server.client() as client:
        client.wait(job_id)
    return job_id


@pytest.fixture
def files(site, done, tmp_path):
    """Name → bytes of the finished job, by the client library."""
    found = {}
    with site.server.client() as client:
        for file in client.results(done).files:
            client.download(done, file, tmp_path / file.name)
            found[file.name] = (tmp_path / file.name).read_bytes()
    return found


def fact(page, name):
    return page.locator(f"dd[data-fact='{name}']")


def test_when_a_job_runs_then_progress_is_seen_and_it_can_be_cancelled_and_retried(page, site):
    job_id = submit(site)
    open_page(page, site, f"jobs?job={job_id}")
    row = page.locator(f".job[data-job='{job_id}']")
    expect(row).to_have_attribute("aria-current", "true")
    expect(fact(page, "Frames")).to_have_text(re.compile(rf"[1-9] of {FRAMES}"), timeout=WAIT)
    expect(fact(page, "Pace")).to_have_text(re.compile(r"\d+\.\d per minute"))
    expect(fact(page, "Time left")).to_have_text(re.compile(r"\d+:\d\d"))
    expect(page.locator("[data-stage='track forward']")).to_have_text(f"{FRAMES}/{FRAMES}")
    expect(row).to_contain_text(re.compile(rf"\d/{FRAMES} frames · [\d.]+/min · \d+:\d\d left"))

    page.keyboard.press("x")
    expect(row).to_have_attribute("data-state", "cancelled", timeout=WAIT)
    with site.server.client() as client:
        job = client.job(job_id)
        assert job.state == wire.CANCELLED
        assert 0 < job.progress.frames_done < FRAMES
        kept = [f.name for f in client.results(job_id).files if f.has_frame]
    page.keyboard.press("3")
    for name in kept:
        expect(page.locator(f".files-list a:text-is('{name}')")).to_be_visible()

    page.keyboard.press("r")
    expect(row).to_have_attribute("data-state", re.compile("queued|running"))
    with site.server.client() as client:
        until(client, job_id, lambda job: job.attempt == 2, seconds=300)
        page.keyboard.press("x")
        until(client, job_id, lambda job: job.state in ENDED, seconds=300)
    expect(row).to_have_attribute("data-state", "cancelled", timeout=WAIT)


def test_when_a_job_is_done_then_sheet_and_downloads_are_what_the_library_gives(
    page, site, done, files, tmp_path
):
    open_page(page, site, f"jobs?job={done}")
    expect(page.locator(f".job[data-job='{done}']")).to_have_attribute("data-state", "done")
    page.keyboard.press("2")
    sheet = page.locator("img.contact")
    expect(sheet).to_be_visible()
    with page.expect_response("**/contact_sheet.png") as shown:
        page.reload()
        page.wait_for_selector("main[data-ready]")
        page.keyboard.press("2")
    assert shown.value.body() == files["contact_sheet.png"]
    expect(sheet).to_have_js_property("complete", True)
    assert sheet.evaluate("image => image.naturalWidth") > 0

    page.keyboard.press("3")
    name = f"objectid/street.{FIRST_FRAME}.exr"
    with page.expect_download() as one:
        page.click(f".files-list a:text-is('{name}')")
    one.value.save_as(tmp_path / "one.exr")
    assert (tmp_path / "one.exr").read_bytes() == files[name]

    with page.expect_download() as everything:
        page.keyboard.press("d")
    assert everything.value.suggested_filename == f"street_{done[:8]}.zip"
    everything.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_when_the_overlay_is_stepped_then_another_frame_is_shown(page, site, done):
    open_page(page, site, f"jobs?job={done}")
    number, picture = page.locator(".player .number"), page.locator(".player canvas.picture")
    expect(number).to_have_value(str(FIRST_FRAME))
    expect(page.locator(".player .view-message")).to_be_empty()
    first = picture.evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("ArrowRight")
    expect(number).to_have_value(str(FIRST_FRAME + 1))
    page.wait_for_timeout(1000)
    assert picture.evaluate("canvas => canvas.toDataURL()") != first


def test_when_a_prompt_is_markup_then_it_is_shown_as_text(page, site, done):
    job_id = submit(site, prompts=wire.Prompts(text=HOSTILE))
    with site.server.client() as client:
        client.cancel(job_id)
        until(client, job_id, lambda job: job.state in ENDED, seconds=300)
    open_page(page, site, f"jobs?job={job_id}")
    expect(page.locator(f".job[data-job='{job_id}']")).to_contain_text(HOSTILE)
    expect(page.locator(".one header p")).to_have_text(HOSTILE)
    assert page.locator(".jobs img").count() == 0
    assert page.title() == "Jobs – Segmatte"


def test_when_a_job_is_deleted_then_it_is_asked_for_once_and_gone(page, site, done):
    job_id = submit(site, prompts=wire.Prompts(text="dog"))
    with site.server.client() as client:
        client.cancel(job_id)
        until(client, job_id, lambda job: job.state in ENDED, seconds=300)
    open_page(page, site, f"jobs?job={job_id}")
    page.click("text=Delete")
    page.click("dialog button.danger")
    expect(page.locator(f".job[data-job='{job_id}']")).to_have_count(0)
    with site.server.client() as client:
        assert job_id not in {job.id for job in client.jobs()}
