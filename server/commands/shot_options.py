"""The command-line options that make a shot's request, shared by the commands that start one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from server.deliver import EdgeSettings
from server.detect import DEFAULT_PROMPT, DetectSettings
from server.errors import SettingsError
from server.frames.options import add_plate_arguments, plate_settings
from server.models.loading import ModelSet
from server.pipeline import ShotRequest
from server.prompts import ArtistPrompts, load_prompts
from server.segment import SegmentSettings
from server.track import MatchSettings, TrackSettings

_PRESETS = {
    "official": ("groundingdino-swin-t", "sam2.1-large"),
    "demo": ("demo-groundingdino", "demo-sam2"),
}


def add_shot_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decides a shot's result."""
    parser.add_argument("plate", help="sequence, file or folder: shot.####.exr, shot.%%04d.dpx, …")
    add_plate_arguments(parser)
    asked = parser.add_argument_group("what to find")
    asked.add_argument(
        "--prompt",
        metavar="TEXT",
        help=f"things separated by commas: 'person, car' (default: {DEFAULT_PROMPT}, or nothing "
        "with --prompts)",
    )
    asked.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE.json",
        help="an artist's points, boxes, masks and polygons on keyframes",
    )
    asked.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="an earlier result of this shot whose names and ids are kept",
    )
    add_model_arguments(parser)
    _add_method(parser)


def add_model_arguments(parser: argparse.ArgumentParser, *, default: str = "official") -> None:
    """Declare which models are used, and where they compute."""
    group = parser.add_argument_group("models")
    group.add_argument(
        "--models",
        choices=sorted(_PRESETS),
        default=default,
        help="the official pair (fetched once), or the small demo pair that knows drawn plates "
        f"only (default: {default})",
    )
    group.add_argument("--detector", metavar="NAME", help="another detector")
    group.add_argument("--segmenter", metavar="NAME", help="another segmenter and tracker")
    add_device_arguments(parser)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where and how models compute; none of it may change within a shot."""
    group = parser.add_argument_group("computing")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of the models (default: one per core; 1 where cores are shared)",
    )
    group.add_argument(
        "--objects-per-batch",
        type=int,
        metavar="N",
        help="objects tracked at once; fewer need less memory (default: 1 on the CPU, 16 on a GPU)",
    )
    group.add_argument(
        "--compile", action="store_true", help="let torch compile the models: slow start, then fast"
    )


def _add_method(parser: argparse.ArgumentParser) -> None:
    track, match, detect = TrackSettings(), MatchSettings(), DetectSettings()
    group = parser.add_argument_group("method")
    group.add_argument(
        "--threshold", type=float, metavar="0..1", help="least score of a box (default: model's)"
    )
    group.add_argument(
        "--separate-captions",
        action="store_true",
        help="ask for each thing apart: slower, things do not influence each other",
    )
    group.add_argument(
        "--step",
        type=int,
        default=track.step,
        metavar="FRAMES",
        help=f"from one key frame to the next (default: {track.step})",
    )
    group.add_argument(
        "--interval",
        type=int,
        default=track.interval,
        metavar="FRAMES",
        help=f"how far a window tracks (default: {track.interval})",
    )
    group.add_argument(
        "--margin",
        type=float,
        default=track.margin,
        metavar="0..1",
        help=f"how much surer a later window must be to take a pixel (default: {track.margin})",
    )
    group.add_argument(
        "--match",
        type=float,
        default=match.partial,
        metavar="0..1",
        help="overlap from which a new mask belongs to a tracked object "
        f"(default: {match.partial})",
    )
    group.add_argument(
        "--max-objects",
        type=int,
        default=track.max_objects,
        metavar="N",
        help=f"objects in one window (default: {track.max_objects})",
    )
    group.add_argument(
        "--clean-up",
        choices=("category", "paper"),
        default="category",
        help="how doubled and grouped boxes are removed (default: category)",
    )
    group.add_argument(
        "--working-size",
        type=int,
        default=1024,
        metavar="PIXELS",
        help="longest side of the image objects are tracked at (default: 1024)",
    )
    group.add_argument(
        "--edge-width",
        type=float,
        default=EdgeSettings().width,
        metavar="PIXELS",
        help="softness of edges, in pixels of a 2K plate (default: 2)",
    )
    group.add_argument(
        "--detection-batch",
        type=int,
        default=detect.batch,
        metavar="N",
        help=f"frames the detector sees at once (default: {detect.batch})",
    )
    group.add_argument(
        "--every-frame",
        action="store_true",
        help="detect and segment on every frame, to look at; mattes stay the same",
    )


def shot_request(arguments: argparse.Namespace) -> ShotRequest:
    """The request a command line makes.

    Raises:
        InputError: an option is out of range, or the prompt file cannot be used.
    """
    artist = load_prompts(arguments.prompts) if arguments.prompts else ArtistPrompts()
    prompt = arguments.prompt
    if prompt is None and not artist.objects:
        prompt = DEFAULT_PROMPT
    detector, segmenter = model_names(arguments)
    return ShotRequest(
        plate=os.path.abspath(arguments.plate),
        prompt=prompt,
        artist=artist,
        frame_range=arguments.frame_range,
        plate_settings=plate_settings(arguments),
        reference=arguments.reference.absolute() if arguments.reference else None,
        detector=detector,
        segmenter=segmenter,
        working_size=arguments.working_size,
        detect=DetectSettings(
            threshold=arguments.threshold,
            joint_caption=not arguments.separate_captions,
            batch=arguments.detection_batch,
        ),
        segment=SegmentSettings(clean_up=arguments.clean_up),
        track=TrackSettings(
            step=arguments.step,
            interval=arguments.interval,
            margin=arguments.margin,
            max_objects=arguments.max_objects,
            match=MatchSettings(partial=arguments.match),
        ),
        edges=EdgeSettings(arguments.edge_width),
        every_frame=arguments.every_frame,
    )


def model_names(arguments: argparse.Namespace) -> tuple[str, str]:
    """Detector and segmenter a command line asks for."""
    detector, segmenter = _PRESETS[arguments.models]
    return arguments.detector or detector, arguments.segmenter or segmenter


def model_set(arguments: argparse.Namespace, request: ShotRequest) -> ModelSet:
    """The models a command line asks for, not loaded yet.

    Raises:
        SettingsError: the number of threads is out of range.
    """
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise SettingsError(f"--threads must be at least 1, not {arguments.threads}.")
        import torch

        torch.set_num_threads(arguments.threads)
    return ModelSet(
        detector=request.detector,
        segmenter=request.segmenter,
        device=arguments.device,
        objects_per_batch=arguments.objects_per_batch,
        compiled=arguments.compile,
    )
