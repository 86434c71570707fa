"""The prompt bench in a real browser, against gRPC's own answers and a drawn plate's truth."""

import base64
import io
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from protos import segmatte_pb2 as wire
from tests.integration.web.conftest import FIRST_FRAME, choose_plate, in_window, open_page

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

WAIT = 300_000
FRAME = FIRST_FRAME + 3
DISCARDED = (255, 122, 112)


@pytest.fixture
def bench(page, site):
    open_page(page, site, "bench")
    choose_plate(page, site)
    ask(page, "person, car")
    go(page, FRAME)
    return page


def ask(page, text, prompt="A"):
    page.fill(f"input[aria-label='Prompt {prompt}']", text)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")


def go(page, frame):
    page.fill("input[aria-label='Frame number']", str(frame))
    page.keyboard.press("Enter")
    page.locator("input[aria-label='Frame number']").blur()


def slide(page, name, value):
    page.locator(f"input[type=range][aria-label='{name}']").fill(str(value))


def settled(page, count=1):
    """Until every picture shows what was found on it."""
    page.wait_for_timeout(1000)  # a change is asked for once it has settled
    expect(page.locator(".cell[data-state=ready]")).to_have_count(count, timeout=WAIT)


def by_grpc(site, *, boxes_only, **settings):
    with site.server.client() as client:
        _, _, found = client.preview(
            wire.PreviewFrameRequest(
                plate=wire.PlateSource(path=str(site.plate)),
                frame=FRAME,
                prompts=wire.Prompts(text="person, car"),
                settings=wire.ShotSettings(**settings),
                boxes_only=boxes_only,
            )
        )
    return found


def drawn(page):
    """What is drawn over the first picture, (H, W, 4) uint8."""
    address = page.locator("canvas.overlay").first.evaluate("c => c.toDataURL()")
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def outline_share(page, picture, box, *, inset=0.0):
    """How much of a box's outline, in plate pixels, is drawn where it belongs."""
    place = page.locator("canvas.overlay").first.bounding_box()
    x0, y0 = (box[0] + inset, box[1] + inset)
    x1, y1 = (box[2] - inset, box[3] - inset)
    ends = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    hits = []
    for a, b in pairwise(ends):
        for t in np.linspace(0.02, 0.98, 50):
            x, y = in_window(page, a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t)
            column, row = round(x - place["x"] - 0.5), round(y - place["y"] - 0.5)
            around = picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2, 3]
            hits.append(around.size > 0 and around.max() > 80)
    return float(np.mean(hits))


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return both / (sum(areas) - both)


def corners(candidate):
    box = candidate.box
    return (box.x0, box.y0, box.x1, box.y1)


def fate_of(reason):
    return ("merged" if reason.startswith("merged") else "discarded") if reason else "kept"


def rows(page, fate):
    """What the list says of candidates of one fate: (category, score, reason)."""
    found = []
    for row in page.locator(f".candidate[data-fate={fate}]").all():
        lines = row.inner_text().split("\n")
        name, score = re.fullmatch(r"\d+ (.+)", lines[0]).group(1), lines[1]
        found.append((name, score, lines[2] if len(lines) > 2 else ""))
    return found


def test_when_a_prompt_is_typed_then_boxes_are_seen_at_the_right_pixels(bench, site):
    bench.keyboard.press("m")  # boxes alone
    settled(bench)
    expected = by_grpc(site, boxes_only=True)
    shown = [(c.category, f"{c.score:.2f}", "") for c in expected]
    assert rows(bench, "kept") == shown

    picture = drawn(bench)
    truth = site.shot.frame(FRAME - FIRST_FRAME).boxes()
    categories = {o.id: o.category for o in site.shot.objects}
    met = set()
    for candidate in expected:
        box = corners(candidate)
        assert outline_share(bench, picture, box) > 0.95
        overlaps = {i: iou(box, b) for i, b in truth.items() if categories[i] == candidate.category}
        best = max(overlaps, key=overlaps.get)
        assert overlaps[best] > 0.6
        met.add(best)
    assert len(met) >= 2
    assert {categories[i] for i in met} == {"person", "car"}
    # A little way off nothing is drawn: it is the outline that was met, not a filled area.
    assert outline_share(bench, picture, corners(expected[0]), inset=7) < 0.3


def test_when_masks_are_on_then_discarded_and_merged_are_shown_apart(bench, site):
    slide(bench, "Threshold", 0.12)
    settled(bench)
    expected = by_grpc(site, boxes_only=False, detect_threshold=0.12)
    for fate in ("kept", "discarded", "merged"):
        own = [
            (c.category, f"{c.score:.2f}", c.reason) for c in expected if fate_of(c.reason) == fate
        ]
        assert own
        assert rows(bench, fate) == own
        expect(
            bench.locator(f".found h3:has-text('{fate.capitalize()} {len(own)}')")
        ).to_be_visible()

    def red():
        picture = drawn(bench).astype(int)
        near = np.abs(picture[..., :3] - DISCARDED).max(-1) < 6
        return int((near & (picture[..., 3] > 200)).sum())

    assert red() > 100
    bench.keyboard.press("2")
    bench.wait_for_timeout(300)
    assert red() == 0
    assert len(rows(bench, "discarded")) > 0


def test_when_two_prompts_and_four_frames_are_on_then_eight_pictures_answer(bench):
    bench.keyboard.press("m")
    bench.keyboard.press("c")
    ask(bench, "car", "B")
    bench.keyboard.press("4")
    settled(bench, 8)
    spread = [FIRST_FRAME + round(i * 7 / 3) for i in range(4)]
    for prompt in (0, 1):
        cells = bench.locator(f".cell[data-prompt='{prompt}']").all()
        assert [int(cell.get_attribute("data-frame")) for cell in cells] == spread
    assert {name for name, *_ in rows(bench, "kept")} == {"person", "car"}
    bench.locator(".cell[data-prompt='1'] canvas.overlay").first.click()
    assert {name for name, *_ in rows(bench, "kept")} == {"car"}
    expect(bench.locator(".submit button")).to_have_text(["Submit A …", "Submit B …"])


def test_when_this_is_submitted_then_the_job_has_exactly_these_settings(bench, site):
    bench.keyboard.press("m")
    slide(bench, "Threshold", 0.22)
    slide(bench, "Same box", 0.55)
    bench.click("summary")
    bench.select_option("label:has-text('Words') select", label="each for itself")
    bench.select_option("label:has-text('Clean-up') select", label="as in the paper")
    with bench.expect_request("**/api/preview") as looked:
        bench.select_option("label:has-text('Working size') select", label="512")
    settled(bench)
    bench.keyboard.press("Control+Enter")
    bench.fill("input[aria-label='First frame']", str(FRAME))
    bench.fill("input[aria-label='Last frame']", str(FRAME + 1))
    with bench.expect_request(lambda r: r.url.endswith("/api/jobs") and r.method == "POST") as sent:
        bench.click("dialog button[type=submit]")
    look, order = looked.value.post_data_json, sent.value.post_data_json
    assert all(order[name] == look[name] for name in ("plate", "options", "text", "settings"))
    bench.wait_for_url("**/jobs?job=*")

    job_id = bench.url.partition("job=")[2]
    with site.server.client() as client:
        job = client.job(job_id)
        assert job.plate == str(site.plate)
        assert job.prompt == "person, car"
        assert (job.range.first, job.range.last) == (FRAME, FRAME + 1)
        client.wait(job_id)
        report = next(f for f in client.results(job_id).files if f.name == "report.json")
        path = site.plate.parent / f"{job_id}.json"
        client.download(job_id, report, path)
    settings = json.loads(path.read_text())["settings"]
    assert settings["prompt"] == "person, car"
    assert settings["detect"]["threshold"] == 0.22
    assert settings["detect"]["suppress_iou"] == 0.55
    assert settings["detect"]["joint_caption"] is False
    assert settings["segment"]["clean_up"] == "paper"
    assert settings["working_size"] == 512
    assert settings["detector"] == "demo-groundingdino"


def test_when_no_plate_is_chosen_then_the_page_says_how_to_begin(page, site):
    open_page(page, site, "bench")
    expect(page.locator(".panes .state h2")).to_have_text("Try a prompt before you submit it")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".note.error")).to_have_text("Choose a plate first.")
    page.keyboard.press("?")
    expect(page.locator("dialog .keys")).to_contain_text("Four frames spread over the shot")
