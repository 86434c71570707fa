"""Click segmentation in a real browser, against the truth of a drawn plate."""

import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import objectid
from protos import segmatte_pb2 as wire
from server.prompts import load_prompts
from tests.backends.test_demo_models import SLACK, card_figures
from tests.integration.web.conftest import (
    FIRST_FRAME,
    FRAMES,
    SIZE,
    choose_plate,
    drag,
    in_window,
    open_page,
)
from tests.system.serving import ROOT, fetch, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

HERO, CAR, OTHER = 2, 5, 3
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def click(page, site):
    open_page(page, site, "click")
    choose_plate(page, site)
    page.wait_for_selector(".view-message:empty", state="attached")
    return page


def iou(a, b):
    return float((a & b).sum() / max(1, (a | b).sum()))


def answered(page, act):
    """The mask the server gave to what ``act`` does, (H, W) bool."""
    with page.expect_response(lambda r: r.url.endswith("/prompt")) as response:
        act()
    data = response.value.json()["mask"]
    picture = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
    return np.asarray(picture) >= 128


def inmost(region):
    """(x, y) of the pixel farthest from a region's border, and how far that is."""
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return (x + 0.5, y + 0.5), float(distance.max())


def three_clicks(page, truth):
    """Clicks as an artist does: on the object, then on what is most wrong each time."""
    mask = np.zeros_like(truth)
    for _ in range(3):
        (missing, missed), (spill, spilt) = inmost(truth & ~mask), inmost(mask & ~truth)
        place, button = (missing, "left") if missed >= spilt else (spill, "right")
        at = in_window(page, *place)
        mask = answered(page, lambda at=at, button=button: page.mouse.click(*at, button=button))
    return mask


def box_of(truth):
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    return columns[0] - 2, rows[0] - 2, columns[-1] + 3, rows[-1] + 3


def draft(page):
    return json.loads(page.evaluate("localStorage.getItem('segmatte-click')"))["objects"]


def name_it(page, name):
    page.keyboard.press("F2")
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def test_three_clicks_give_the_mask_the_model_card_promises(click, site):
    page = click
    found = []
    for number in (HERO, OTHER, CAR):
        page.keyboard.press("n")
        truth = site.mask(FIRST_FRAME, number)
        mask = three_clicks(page, truth)
        found.append(iou(mask, truth))
        # What is drawn lies where the object is.
        page.wait_for_timeout(300)
        (x, y), _ = inmost(mask)
        left, top = in_window(page, x, y)
        alpha = page.evaluate(
            """([x, y]) => {
                const canvas = document.querySelector("canvas.overlay");
                const box = canvas.getBoundingClientRect();
                const at = [x - box.left, y - box.top].map((v) => v * devicePixelRatio);
                return canvas.getContext("2d").getImageData(...at, 1, 1).data[3];
            }""",
            [left, top],
        )
        assert alpha > 60
    print("IoU after three clicks:", [f"{v:.3f}" for v in found])
    assert np.mean(found) >= card_figures("demo-sam2.md", "prompts-easy")["point"] - SLACK


def test_objects_are_named_undone_hidden_saved_and_run(click, site, tmp_path):
    page = click
    answered(page, lambda: drag(page, box_of(site.mask(FIRST_FRAME, HERO))))
    name_it(page, "hero")
    page.keyboard.press("n")
    (x, y), _ = inmost(site.mask(FIRST_FRAME, CAR))
    answered(page, lambda: page.mouse.click(*in_window(page, x, y)))
    answered(
        page,
        lambda: (
            page.keyboard.down("Alt"),
            page.mouse.click(*in_window(page, x, y - 100)),
            page.keyboard.up("Alt"),
        ),
    )
    name_it(page, HOSTILE)
    shown = page.locator(".objects button.name").all_text_contents()
    assert shown == ["/hero", f"/{HOSTILE}"]
    assert page.locator("main img").count() == 0
    assert page.title() == "Click – Segmatte"

    assert [p["positive"] for p in draft(page)[1]["keyframes"]["1001"]["points"]] == [True, False]
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert len(draft(page)[1]["keyframes"]["1001"]["points"]) == 1
    page.keyboard.press("Control+y")
    page.keyboard.press("Control+Shift+z")
    assert draft(page)[1]["name"] == f"/{HOSTILE}"
    assert len(draft(page)[1]["keyframes"]["1001"]["points"]) == 2
    page.keyboard.press("h")
    assert not draft(page)[1]["visible"]
    page.keyboard.press("Delete")
    assert [o["name"] for o in draft(page)] == ["/hero"]
    page.keyboard.press("Control+z")

    with page.expect_download() as download:
        page.click("text=Save prompt set")
    zipfile.ZipFile(download.value.path()).extractall(tmp_path)
    masks, clicks = (load_prompts(tmp_path / f"{n}.json").objects for n in ("prompts", "clicks"))
    assert [o.name for o in masks] == [o.name for o in clicks] == ["/hero", f"/{HOSTILE}"]
    assert all(k.mask.path.is_file() for o in masks for k in o.keyframes)
    assert clicks[0].keyframes[0].box is not None

    page.reload()
    page.wait_for_selector("main[data-ready]")
    assert page.locator(".objects button.name").all_text_contents() == shown

    command = [sys.executable, "-m", "client", "run", site.plate, "--models", "demo"]
    command += ["--prompts", tmp_path / "prompts.json", "--out", tmp_path / "out"]
    command += ["--range", f"{FIRST_FRAME}-{FIRST_FRAME + 1}", "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for frame in (FIRST_FRAME, FIRST_FRAME + 1):
        file = objectid.read_frame(tmp_path / "out" / "objectid" / f"street.{frame}.exr")
        assert set(file.manifest.ids) == set(shown)
        hero = objectid.pick(file.frame, [file.manifest.ids["/hero"]])
        assert iou(hero >= 0.5, site.mask(frame, HERO)) >= 0.7


def test_dropped_pictures_become_a_plate(page, site, tmp_path):
    files = [tmp_path / f"drop.{FIRST_FRAME + index}.png" for index in range(2)]
    for index, path in enumerate(files):
        Image.fromarray(site.shot.frame(index).pixels).save(path)
    open_page(page, site, "click")
    page.click("text=Plate …")
    page.set_input_files(".drop input", [*files, Path(__file__)])
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector(".view-message:empty", state="attached")
    assert page.locator(".scrubber").text_content().endswith(f"{FIRST_FRAME + 1}")
    truth = site.mask(FIRST_FRAME, HERO)
    mask = answered(page, lambda: drag(page, box_of(truth)))
    assert iou(mask, truth) >= card_figures("demo-sam2.md", "prompts-easy")["box"] - SLACK - 0.1
    again = answered(page, page.reload)
    assert np.array_equal(again, mask)


def test_tracked_mattes_are_corrected_and_only_the_affected_frames_change(click, site, tmp_path):
    page = click
    last_key = FIRST_FRAME + FRAMES - 2
    page.keyboard.press("n")
    for frame in (FIRST_FRAME, last_key):
        page.fill("input.number[aria-label='Frame number']", str(frame))
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        answered(page, lambda frame=frame: drag(page, box_of(site.mask(frame, HERO))))
    name_it(page, HOSTILE)
    page.click("text=Track")
    page.wait_for_selector(".panel[data-ended]", timeout=600_000)
    job = page.locator(".panel").get_attribute("data-ended")
    client = site.server.client()
    before = fetch(client, job, tmp_path / "before")
    (job_name,) = client.job(job).object_names
    assert job_name == f"/{HOSTILE}"
    mattes = {name for name in before if name.startswith("objectid/") and name.endswith(".exr")}
    assert len(mattes) == FRAMES

    middle = FIRST_FRAME + 3
    page.fill("input.number[aria-label='Frame number']", str(middle))
    page.keyboard.press("Enter")
    page.locator(".objects button.name", has_text="onerror").click()
    page.keyboard.press("c")
    x0, y0, x1, y1 = box_of(site.mask(middle, HERO))
    answered(page, lambda: drag(page, (x0, y0, x1, (y0 + y1) // 2)))
    page.click("text=Re-track from here")
    page.wait_for_selector(f".panel[data-ended]:not([data-ended='{job}'])", timeout=600_000)
    corrected = page.locator(".panel").get_attribute("data-ended")
    after = fetch(client, corrected, tmp_path / "after")
    changed = {name for name in mattes if before[name] != after[name]}
    affected = range(FIRST_FRAME + 1, last_key)
    assert {int(name.split(".")[-2]) for name in changed} <= set(affected)
    assert any(f".{middle}." in name for name in changed)
    assert f"{affected[0]}–{affected[-1]}" in page.locator(".hint").text_content()
    assert page.locator("main img").count() == 0
    assert page.title() == "Click – Segmatte"


@contextlib.contextmanager
def halted(pids):
    """Processes that do nothing meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_stopped_job_goes_on_where_it_stopped(click, site):
    page = click
    answered(page, lambda: drag(page, box_of(site.mask(FIRST_FRAME, HERO))))
    page.click("text=Track")
    progress = page.locator(".progress")
    page.wait_for_url("**job=*")
    job = page.url.partition("job=")[2]
    client = site.server.client()
    until(client, job, lambda found: found.progress.frames_done > 0, seconds=600)
    with halted(site.server.workers().values()):  # else a quick one ends before it hears of it
        finished = page.locator(".scrubber i[title='Mattes are there']").first
        finished.wait_for(state="attached", timeout=600_000)
        progress.get_by_role("button", name="Cancel").click()
        until(client, job, lambda found: found.cancel_requested)
    expect(progress).to_contain_text("Cancelled. Finished frames are kept.", timeout=600_000)
    kept = {f.name: f.sha256 for f in client.results(job).files if f.has_frame}
    assert 0 < len(kept) < FRAMES

    progress.get_by_role("button", name="Go on").click()
    expect(progress).to_contain_text(f"Done: {FRAMES} frames.", timeout=600_000)
    again = client.job(job)
    assert (again.state, again.attempt) == (wire.DONE, 2)
    done = {f.name: f.sha256 for f in client.results(job).files if f.has_frame}
    assert len(done) == FRAMES
    assert kept.items() <= done.items()


def test_a_movie_is_a_plate_once_its_length_is_told(page, site):
    path = site.plate.parent / "street.mp4"
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 24.0, SIZE[::-1])
    for index in range(3):
        writer.write(site.shot.frame(index).pixels[..., ::-1])
    writer.release()

    open_page(page, site, "click")
    page.click("text=Plate …")
    page.fill("dialog input[type=text]", str(path))
    page.click("dialog button[type=submit]")
    page.fill("input[aria-label='Frames']", "3")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    assert page.locator("input[aria-label='Last frame']").input_value() == "3"
    page.keyboard.press("End")
    page.wait_for_selector(".view-message:empty", state="attached")
    truth = site.mask(FIRST_FRAME + 2, HERO)
    mask = answered(page, lambda: drag(page, box_of(truth)))
    assert draft(page)[0]["keyframes"].keys() == {"3"}
    assert iou(mask, truth) >= card_figures("demo-sam2.md", "prompts-easy")["box"] - SLACK - 0.1


def test_the_printed_address_signs_in_keys_are_listed_and_signing_out_forgets(site, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.goto(site.key_url)
    assert page.url == f"{site.url}/bench"
    open_page(page, site, "click")
    page.keyboard.press("?")
    assert "Undo" in page.locator("dialog[open]").text_content()
    page.keyboard.press("Escape")
    page.goto(site.key_url)  # used up, but the cookie is there
    assert page.url == f"{site.url}/bench"
    page.fill("input[aria-label='Prompt A']", "dog")
    page.keyboard.press("Enter")
    page.click("text=Sign out")
    page.wait_for_url("**/sign-in")
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    context.close()
