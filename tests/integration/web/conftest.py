"""A real server with the demo models, the pages in a process of their own, and a real browser."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.commands.demo import demo_shot, write_plate
from server.training.plates import DrawnShot
from tests.system.serving import ROOT, RunningServer

FIRST_FRAME = 1001
FRAMES = 8
SIZE = (360, 640)


class DemoServer(RunningServer):
    """A server process with the demo models."""

    def __init__(self, state):
        super().__init__(state)
        self.config.write_text(
            'port=0\ndevices=["cpu"]\ndetector="demo-groundingdino"\nsegmenter="demo-sam2"\n'
        )


@dataclass
class Site:
    """What the tests share: addresses, a plate and its truth."""

    server: RunningServer
    url: str
    key_url: str
    shot: DrawnShot
    plate: Path

    def mask(self, frame, object_id):
        """(H, W) bool truth."""
        return self.shot.frame(frame - FIRST_FRAME).mask(object_id)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    shot = demo_shot(size=SIZE, frames=FRAMES)
    plate = write_plate(shot, folder / "plate", name="street", first=FIRST_FRAME)
    with DemoServer(folder / "state") as server:
        web = subprocess.Popen(
            [sys.executable, "-m", "client", "web", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "SEGMATTE_STATE": str(server.state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        key_url = web.stdout.readline().split()[-1]
        assert key_url.startswith("http://127.0.0.1:")
        yield Site(server, key_url.partition("/?")[0], key_url, shot, plate)
        web.terminate()
        web.wait(30)
        web.stdout.close()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture
def page(site, browser):
    """A signed-in page that must not complain, nor ask anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(120_000)
    page = context.new_page()
    complaints, elsewhere = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on(
        "request",
        lambda r: None if r.url.startswith((site.url, "data:", "blob:")) else elsewhere.append(r),
    )
    page.goto(f"{site.url}/sign-in")
    page.fill("input[type=password]", site.server.token)
    page.click("button[type=submit]")
    page.wait_for_url(f"{site.url}/bench")
    page.wait_for_selector("main[data-ready]")
    yield page
    context.close()
    assert elsewhere == []
    assert complaints == []


def open_page(page, site, name):
    """A page, ready."""
    page.goto(f"{site.url}/{name}")
    page.wait_for_selector("main[data-ready]")


def choose_plate(page, site):
    """Through the plate browser, with the path typed."""
    page.click("text=Plate …")
    page.fill("dialog input[type=text]", str(site.plate))
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")


def in_window(page, x, y, *, view=".frame-view canvas.overlay"):
    """Where a plate pixel of a fitted view lies in the window."""
    box = page.locator(view).bounding_box()
    height, width = SIZE
    scale = min((box["width"] - 16) / width, (box["height"] - 16) / height)
    return (
        box["x"] + (box["width"] - width * scale) / 2 + x * scale,
        box["y"] + (box["height"] - height * scale) / 2 + y * scale,
    )


def drag(page, box):
    """A box from corner to corner, in plate pixels."""
    x0, y0, x1, y1 = box
    page.mouse.move(*in_window(page, x0, y0))
    page.mouse.down()
    page.mouse.move(*in_window(page, (x0 + x1) / 2, y1), steps=3)
    page.mouse.move(*in_window(page, x1, y1), steps=3)
    page.mouse.up()
