"""Speed of the pipeline beside a plain reference with the same weights and prompts.

Measured with the demo models; counted in multiply-adds for SAM 2.1 tiny and large, whose calls
follow from the same schedule; and what the pipeline itself costs beside the models.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from server.frames import ModelImage
from server.pipeline import ShotRequest, run_shot, run_stage
from server.track import CacheFolder, MaskCache, TrackSettings, key_indices
from tests.benchmarks import shots
from tests.benchmarks.measure import Clock, Part, Plot, Size, Table, main, repeat, timed
from tests.benchmarks.models import FixedModels, TimedSegmenter, TrueBoxes

SETTINGS = TrackSettings()
ENCODER_SIDE = 1024


# Both sides, measured with the demo models

_KEPT = 1 << 30  # bytes of features kept, more than any of these shots needs


@dataclass(frozen=True)
class Side:
    """One side of a comparison."""

    clock: Clock
    calls: dict[str, int]
    caches: list[MaskCache]


def ours(
    shot: shots.Shot, folder: Path, out: Path, *, budget_bytes: int, objects_per_batch: int = 1
) -> Side:
    """Stages 1 to 3 of the product, on the JPEG folder."""
    from server.models import load_detector, load_segmenter

    detector = TrueBoxes(load_detector("demo-groundingdino"), shot)
    segmenter = load_segmenter("demo-sam2", objects_per_batch=objects_per_batch)
    models = FixedModels(detector, segmenter)
    request = ShotRequest(
        plate=str(folder / "#####.jpg"),
        prompt="person",
        detector="demo-groundingdino",
        segmenter="demo-sam2",
    )
    with mock.patch("server.pipeline.shot.FEATURE_BUDGET_BYTES", budget_bytes), timed() as clock:
        run_stage("detect", out, models=models, request=request)
        run_stage("track", out, models=models)
    files = CacheFolder(out / "work" / "backward", groups=1, size=shot.size)
    calls = Counter(models.segmenter().calls)
    calls["detector"] = detector.images
    return Side(clock, dict(calls), [files.read(index) for index in range(len(shot))])


def plain(shot: shots.Shot, folder: Path) -> Side:
    """The plain reference on the same folder."""
    from server.models import load_detector
    from server.models.demo import build_demo_sam2
    from tests.benchmarks.plain import run_plain

    detector = TrueBoxes(load_detector("demo-groundingdino"), shot)
    networks = build_demo_sam2(), build_demo_sam2()
    with timed() as clock:
        caches, calls = run_plain(
            folder,
            tuple(range(len(shot))),
            detector=detector,
            image_network=networks[0],
            video_network=networks[1],
            category="person",
        )
    return Side(clock, dict(calls), caches)


def against_plain(size: Size) -> tuple[Table, dict[str, Any]]:
    """Whole shots at 1, 3, 4 and 10 objects."""
    frames = {"quick": 7, "usual": 21, "full": 61}[size]
    counts = (1,) if size == "quick" else (1, 3, 4, 10)
    rows: list[tuple[Any, ...]] = []
    values: dict[str, Any] = {}
    for count in counts:
        shot = shots.people(count, seed=count, size=(256, 256), frames=frames)
        with tempfile.TemporaryDirectory() as base:
            folder = shot.write(Path(base) / "frames")
            reference = plain(shot, folder)
            variants = {"features kept": (_KEPT, 1)}
            if count == 1:
                variants["features not kept"] = (0, 1)
            else:
                variants["features kept, objects in one batch"] = (_KEPT, count)
            foreground = float(np.mean([(c.layer > 0).mean() for c in reference.caches]))
            rows.append(_row(f"{count}", "plain", reference, None, None))
            values[f"{count} plain"] = _values(reference)
            for name, (budget, batch) in variants.items():
                out = Path(base) / name
                own = ours(shot, folder, out, budget_bytes=budget, objects_per_batch=batch)
                differing = float(
                    np.mean(
                        [
                            (a.layer != b.layer).mean()
                            for a, b in zip(own.caches, reference.caches, strict=True)
                        ]
                    )
                )
                ratio = reference.clock.cpu / own.clock.cpu
                rows.append(_row(f"{count}", f"ours, {name}", own, ratio, differing))
                values[f"{count} {name}"] = {
                    **_values(own),
                    "cpu_ratio": ratio,
                    "differing_pixels": differing,
                    "foreground": foreground,
                    "layers": int(max(c.layer.max() for c in reference.caches)),
                }
    table = Table(
        f"Whole shot, stages 1 to 3, demo models at 256, {frames} frames, one run each",
        (
            "objects",
            "side",
            "CPU s",
            "wall s",
            "plain / ours (CPU)",
            "detector images",
            "encoder",
            "memory attention",
            "decoder",
            "layer map differs",
        ),
        tuple(rows),
        (
            "Both sides read the same JPEG files, run the same detector and get the truth's boxes "
            "from it, so the number of objects is known. The plain side segments every frame. "
            "Objects are tracked one by one on the CPU on both sides, which is the default there; "
            "in one batch they cost less, and a mask may differ in the last bits. Wall times of a "
            "shared machine compare nothing.",
            "Foreground covers "
            + ", ".join(
                f"{100 * value['foreground']:.0f} %"
                for key, value in values.items()
                if key.endswith("features kept")
            )
            + " of the pictures: agreement is not that of empty masks.",
        ),
    )
    return table, values


def _row(
    count: str, name: str, side: Side, ratio: float | None, differing: float | None
) -> tuple[Any, ...]:
    return (
        count,
        name,
        f"{side.clock.cpu:.1f}",
        f"{side.clock.wall:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
        *(side.calls.get(key, 0) for key in _KINDS),
        "" if differing is None else f"{100 * differing:.4f} %",
    )


_KINDS = ("detector", "image_encoder", "memory_attention", "mask_decoder")


def _values(side: Side) -> dict[str, Any]:
    return {"cpu": side.clock.cpu, "wall": side.clock.wall, "calls": side.calls}


# Multiply-adds of the published networks


def multiply_adds(config: str) -> dict[str, float]:
    """GMAC of a network's parts at 1024, counted on the meta device without weights.

    Returns:
        ``encoder``, ``decoder``, ``memory_encoder``, and ``attention M`` for M = 1 … 7 spatial
        memories with as many object pointers.
    """
    from server.models.sam2 import build_sam2

    network: Any = build_sam2(config).to("meta")
    side, width = ENCODER_SIDE, network.hidden_dim
    grid = side // 16
    meta: Any = {"device": "meta"}

    def count(work: Any) -> float:
        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
            work()
        return counter.get_total_flops() / 2 / 1e9

    found = {"encoder": count(lambda: network.image_encoder(torch.empty(1, 3, side, side, **meta)))}
    tokens = torch.empty(grid * grid, 1, width, **meta)
    for memories in range(1, 8):
        length = memories * grid * grid + 4 * memories
        memory = torch.empty(length, 1, network.mem_dim, **meta)
        found[f"attention {memories}"] = count(
            lambda memory=memory, memories=memories: network.memory_attention(
                curr=[tokens],
                curr_pos=[tokens],
                memory=memory,
                memory_pos=memory,
                num_obj_ptr_tokens=4 * memories,
            )
        )
    found["memory_encoder"] = count(
        lambda: network.memory_encoder(
            torch.empty(1, width, grid, grid, **meta), torch.empty(1, 1, side, side, **meta)
        )
    )
    image = torch.empty(1, width, grid, grid, **meta)
    fine = [
        torch.empty(1, width // 8, 4 * grid, 4 * grid, **meta),
        torch.empty(1, width // 4, 2 * grid, 2 * grid, **meta),
    ]
    found["decoder"] = count(
        lambda: network.sam_mask_decoder(
            image_embeddings=image,
            image_pe=image,
            sparse_prompt_embeddings=torch.empty(1, 3, width, **meta),
            dense_prompt_embeddings=image,
            multimask_output=False,
            repeat_image=False,
            high_res_features=fine,
        )
    )
    return found


def schedule(frames: int) -> dict[str, Any]:
    """Calls of a shot whose objects are all there from the first to the last frame, per object.

    Returns:
        ``ages``: tracked frames by age of their window; ``plain_encodes``; ``windows``.
    """
    key = key_indices(frames, SETTINGS.step)
    reach = [min(SETTINGS.interval, frames - 1 - k) for k in key if k < frames - 1]
    reach += [min(SETTINGS.interval, k) for k in key if k > 0]
    ages = Counter(age for length in reach for age in range(1, length + 1))
    return {
        "ages": ages,
        "windows": len(reach),
        "plain_encodes": frames + sum(length + 1 for length in reach),
        "key": len(key),
    }


def counted(size: Size) -> tuple[Table, dict[str, Any]]:
    """GMAC per frame of a shot, plain and ours, by model and number of objects."""
    frames = 100
    plan = schedule(frames)
    rows, values = [], {}
    for name, config in (
        ("tiny", "configs/sam2.1/sam2.1_hiera_t.yaml"),
        ("large", "configs/sam2.1/sam2.1_hiera_l.yaml"),
    ):
        cost = multiply_adds(config)
        per_object = sum(
            times * (cost[f"attention {min(age, 7)}"] + cost["decoder"] + cost["memory_encoder"])
            for age, times in plan["ages"].items()
        ) + plan["windows"] * (cost["decoder"] + cost["memory_encoder"])
        values[name] = {"parts": cost}
        for objects in (1, 4, 10):
            stage_2 = objects * cost["decoder"]
            sides = {
                "plain": plan["plain_encodes"] * cost["encoder"] + frames * stage_2,
                "2 encodes": 2 * frames * cost["encoder"] + plan["key"] * stage_2,
                "1 encode": frames * cost["encoder"] + plan["key"] * stage_2,
            }
            totals = {k: (v + objects * per_object) / frames for k, v in sides.items()}
            values[name][f"{objects} objects"] = totals
            rows.append(
                (
                    f"SAM 2.1 {name}",
                    objects,
                    f"{totals['plain']:.0f}",
                    f"{totals['2 encodes']:.0f}",
                    f"{totals['1 encode']:.0f}",
                    f"{totals['plain'] / totals['2 encodes']:.2f}",
                    f"{totals['plain'] / totals['1 encode']:.2f}",
                )
            )
    table = Table(
        f"Multiply-adds per frame of a shot of {frames} frames at 1024, in 10^9",
        (
            "model",
            "objects",
            "plain",
            "ours, features not kept",
            "ours, kept",
            "gain, not kept",
            "gain, kept",
        ),
        tuple(rows),
        (
            "Counted on the meta device: image encoder, memory attention by number of memories, "
            "decoder, memory encoder. Detection is not in it: there the gain is 5 (key frames "
            "only). With many objects the memory attention is the cost, which both sides pay.",
            "Parts, 10^9: "
            + "; ".join(
                f"{name}: encoder {v['parts']['encoder']:.0f}, attention with 1 / 4 / 7 memories "
                f"{v['parts']['attention 1']:.0f} / {v['parts']['attention 4']:.0f} / "
                f"{v['parts']['attention 7']:.0f}, decoder {v['parts']['decoder']:.1f}, memory "
                f"encoder {v['parts']['memory_encoder']:.1f}"
                for name, v in values.items()
            )
            + ".",
        ),
    )
    return table, values


# What the pipeline itself costs


def own_cpu(size: tuple[int, int], *, frames: int) -> dict[str, float]:
    """CPU seconds per frame of a delivered shot, less what is spent inside the models.

    Args:
        size: (H, W) of the plate, half-float EXR.
        frames: length of the shot.
    """
    from server.commands.demo import demo_shot, write_plate
    from server.models.oracle import OracleDetector, OracleSegmenter, ShotTruth

    drawn = demo_shot(size=size, frames=frames)
    truth = ShotTruth.of(drawn, first=1001)
    with tempfile.TemporaryDirectory() as folder:
        plate = write_plate(drawn, Path(folder) / "plate", name="street", first=1001)
        segmenter = TimedSegmenter(OracleSegmenter(truth))
        request = ShotRequest(
            plate=str(plate), prompt="person, car", detector="oracle", segmenter="oracle"
        )
        with timed() as clock:
            result = run_shot(
                request,
                Path(folder) / "out",
                models=FixedModels(OracleDetector(truth), segmenter),
            )
        import json

        stages = json.loads(result.folder.report.read_text())["seconds"]
    return {
        "own": (clock.cpu - segmenter.seconds) / frames,
        "deliver": stages["deliver"]["cpu"] / frames,
        "pictures": stages["pictures"]["cpu"] / frames,
        "objects": float(len(truth.categories)),
        "wall": clock.wall / frames,
    }


def adapter_cpu(*, runs: int) -> float:
    """CPU seconds the adapter adds to one object in one frame: logits to probabilities at 1024."""
    from server.models import load_segmenter

    segmenter: Any = load_segmenter("demo-sam2")
    logits = np.random.default_rng(1).normal(0, 4, (1, 256, 256)).astype(np.float32)
    cpu, _ = repeat(lambda: segmenter.probabilities(logits, size=(576, 1024)), runs=runs)
    return cpu.median


def tiny_cpu_per_gmac(parts: dict[str, float]) -> float:
    """CPU seconds per 10^9 multiply-adds of SAM 2.1 tiny at 1024, by one encoding and one step."""
    from server.models.sam2 import Sam2, build_sam2

    network = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    segmenter = Sam2(network, name="sam2.1-tiny without weights", weights_sha256="")
    image = ModelImage(0, np.random.default_rng(0).integers(0, 255, (576, 1024, 3), np.uint8))
    mask = np.zeros((1, 576, 1024), np.bool_)
    mask[:, 100:300, 100:300] = True
    with timed() as clock:
        features = segmenter.encode(image)
        window = segmenter.open_window(features, mask, reverse=False)
        for _ in range(2):
            for _answer in window.step(features):
                pass
    work = parts["encoder"] + parts["attention 1"] + parts["attention 2"]
    work += 3 * (parts["decoder"] + parts["memory_encoder"])
    return clock.cpu / work


def overhead(size: Size, tiny: dict[str, Any]) -> tuple[Table, dict[str, Any]]:
    """Own CPU per frame at 1080p and 4K, and its share beside SAM 2.1 tiny on this CPU."""
    frames = {"quick": 3, "usual": 6, "full": 40}[size]
    plates = {"1920 x 1080": (1080, 1920)}
    if size != "quick":
        plates["4096 x 2160"] = (2160, 4096)
    upsampling = adapter_cpu(runs=3 if size == "quick" else 9)
    per_gmac = tiny_cpu_per_gmac(tiny["parts"])
    rows: list[tuple[str, ...]] = []
    values: dict[str, Any] = {"adapter per object": upsampling, "tiny CPU s per GMAC": per_gmac}
    for name, shape in plates.items():
        found = own_cpu(shape, frames=frames)
        steps = sum(schedule(frames)["ages"].values()) / frames * found["objects"]
        own = found["own"] + steps * upsampling
        model = per_gmac * tiny["4 objects"]["1 encode"] * found["objects"] / 4
        values[name] = {**found, "own with adapter": own, "model": model}
        rows.append(
            (
                name,
                f"{found['objects']:.0f}",
                f"{found['own']:.2f}",
                f"{found['deliver']:.2f}",
                f"{found['pictures']:.2f}",
                f"{steps * upsampling:.2f}",
                f"{model:.0f}",
                f"{100 * own / (own + model):.1f} %",
            )
        )
    table = Table(
        f"Own CPU seconds per frame of a delivered shot ({frames} frames, half-float EXR)",
        (
            "plate",
            "objects",
            "pipeline",
            "of it delivery",
            "of it pictures",
            "adapter",
            "SAM 2.1 tiny, CPU",
            "own share",
        ),
        tuple(rows),
        (
            "Pipeline: everything outside the models' calls, all threads, start-up of the short "
            "shot included. Adapter: logits to probabilities at working size. SAM 2.1 tiny: one "
            "encoding and two steps, timed without weights and extended by multiply-adds. The "
            "share is that of a run on this CPU; on a GPU, where models are far faster, the "
            "absolute figures are what counts.",
        ),
    )
    return table, values


def run(size: Size) -> Part:
    """All of it."""
    counted_table, counted_values = counted(size)
    overhead_table, overhead_values = overhead(size, counted_values["tiny"])
    speed_table, speed_values = against_plain(size)
    ratios = {
        key.split()[0]: value["cpu_ratio"]
        for key, value in speed_values.items()
        if key.endswith("features kept")
    }
    large = counted_values["large"]["1 objects"]
    shares = [v for v in overhead_values.values() if isinstance(v, dict)]
    share = max(v["own with adapter"] / (v["own with adapter"] + v["model"]) for v in shares)
    summary = (
        "Whole shot against the plain reference (demo models, CPU time): "
        + ", ".join(f"{ratio:.2f} x less with {count} object(s)" for count, ratio in ratios.items())
        + ". Goal: 2 x up to three objects.",
        f"Multiply-adds with SAM 2.1 large and one object: {large['plain'] / large['1 encode']:.2f}"
        f" x fewer with features kept, {large['plain'] / large['2 encodes']:.2f} x without. Goal: "
        "3 x.",
        f"Own overhead beside SAM 2.1 tiny on the CPU: at most {100 * share:.1f} %. Goal: 10 %.",
    )
    plot = Plot(
        "pipeline_speed",
        "CPU time of a whole shot, demo models",
        "seconds",
        tuple(f"{count} objects" for count in ratios),
        {
            "plain": tuple(speed_values[f"{c} plain"]["cpu"] for c in ratios),
            "ours": tuple(speed_values[f"{c} features kept"]["cpu"] for c in ratios),
        },
    )
    values = {"speed": speed_values, "counted": counted_values, "own": overhead_values}
    return Part(
        "Speed of the pipeline",
        summary,
        (speed_table, counted_table, overhead_table),
        (plot,),
        values,
    )


if __name__ == "__main__":
    main(run, __doc__)
