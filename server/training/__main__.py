"""``python -m server.training plates|sam2|groundingdino|curve|evaluate|publish``."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from server.errors import ServerError

EVALUATION_SETS = ("easy", "hard", "held-out-easy", "held-out-hard")


class Commands(Protocol):
    """What argparse calls sub-parsers, for its type."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:
        """A parser for one command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run one command; errors of ours become one line and a code."""
    parser = argparse.ArgumentParser(prog="python -m server.training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_plates,
        _add_sam2,
        _add_groundingdino,
        _add_curve,
        _add_evaluate,
        _add_publish,
    ):
        add(commands)
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _add_plates(commands: Commands) -> None:
    parser = commands.add_parser("plates", help="draw a pool for training, or a shot to look at")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", action="store_true", help="draw a sprite pool, not a shot")
    parser.add_argument("--sprites", type=int, default=1200)
    parser.add_argument("--backgrounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--level", type=float, default=0.5, help="0 easy to 1 hard")
    parser.set_defaults(command=_plates)


def _plates(options: argparse.Namespace) -> None:
    import cv2

    from server.training.plates import draw_shot, make_pool

    cv2.setNumThreads(1)
    if options.pool:
        make_pool(
            options.folder,
            sprites=options.sprites,
            backgrounds=options.backgrounds,
            seed=options.seed,
        )
        return
    shot = draw_shot(
        options.seed, size=tuple(options.size), frames=options.frames, level=options.level
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    for frame in shot:
        number = 1001 + frame.index
        cv2.imwrite(str(options.folder / f"plate.{number}.png"), frame.pixels[..., ::-1])
        cv2.imwrite(str(options.folder / f"truth.{number}.png"), frame.labels())
    names = {item.id: item.name for item in shot.objects}
    (options.folder / "truth.json").write_text(json.dumps(names, indent=2), encoding="utf-8")


def _add_run(commands: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary)
    parser.add_argument("folder", type=Path, help="the run's; started again, it goes on")
    parser.add_argument("--pool", type=Path, required=True, help="see `plates --pool`")
    parser.add_argument("--minutes", type=float, default=60.0, help="training time in all")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--floor", type=float, default=0.02, help="share of the rate at the end")
    parser.add_argument("--initial-weights", type=Path, help="safetensors to start from")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _add_sam2(commands: Commands) -> None:
    parser = _add_run(commands, "sam2", "train the demo segmenter")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--video", type=float, default=0.4, help="share of steps on clips")
    parser.add_argument("--level", type=float, default=0.6, help="share of hard scenes")
    parser.add_argument("--rank", type=int, default=0, help="number of this process")
    parser.add_argument("--world", type=int, default=1, help="processes that share gradients")
    parser.add_argument("--port", type=int, default=29511, help="where they meet, on localhost")
    parser.set_defaults(command=_sam2)


def _sam2(options: argparse.Namespace) -> None:
    _one_thread()
    import torch.distributed

    from server.training.run import Schedule
    from server.training.sam2 import Sam2Training, train

    if options.world > 1:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"tcp://127.0.0.1:{options.port}",
            rank=options.rank,
            world_size=options.world,
        )
    train(
        Sam2Training(
            folder=options.folder,
            pool=options.pool,
            schedule=Schedule(options.minutes, options.learning_rate, floor=options.floor),
            image_size=options.image_size,
            video=options.video,
            level=options.level,
            initial_weights=options.initial_weights,
            seed=options.seed,
            rank=options.rank,
            world=options.world,
        )
    )


def _add_groundingdino(commands: Commands) -> None:
    parser = _add_run(commands, "groundingdino", "train the demo detector")
    parser.add_argument("--level", type=float, default=0.6, help="share of hard scenes")
    parser.set_defaults(command=_groundingdino)


def _groundingdino(options: argparse.Namespace) -> None:
    _one_thread()
    from server.training.groundingdino import DetectorTraining, train
    from server.training.run import Schedule

    schedule = Schedule(options.minutes, options.learning_rate, floor=options.floor, clip=2.0)
    train(
        DetectorTraining(
            folder=options.folder,
            pool=options.pool,
            schedule=schedule,
            level=options.level,
            initial_weights=options.initial_weights,
            seed=options.seed,
        )
    )


def _add_curve(commands: Commands) -> None:
    parser = commands.add_parser("curve", help="draw the held-out figures of runs over time")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("folders", type=Path, nargs="+", help="runs, in order")
    parser.add_argument("--figures", nargs="+", required=True, help="box point mean recall …")
    parser.set_defaults(command=_curve)


def _curve(options: argparse.Namespace) -> None:
    from server.training.run import plot_curves

    plot_curves(options.folders, options.picture, figures=options.figures)


def _add_evaluate(commands: Commands) -> None:
    parser = commands.add_parser("evaluate", help="measure the shipped weights, as JSON lines")
    parser.add_argument("model", choices=("sam2", "groundingdino", "pipeline"))
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    parser.add_argument("--shots", type=int, default=40, help="shots of every set")
    parser.add_argument("--sets", nargs="+", choices=EVALUATION_SETS, default=EVALUATION_SETS)
    parser.add_argument(
        "--part",
        type=int,
        nargs=2,
        default=(0, 1),
        metavar=("I", "N"),
        help="pipeline: every N-th shot from number I, to share the work",
    )
    parser.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    _one_thread()
    if options.model == "pipeline":
        _evaluate_pipeline(options)
        return
    from server.models import demo
    from server.training import evaluate
    from server.training.plates import TRAINING_STYLE
    from server.training.plates_heldout import HELD_OUT_STYLE

    build = demo.build_demo_sam2 if options.model == "sam2" else demo.build_demo_groundingdino
    model = build()
    if options.weights is not None:
        demo.read_weights(model, options.weights)
    for name in options.sets:
        style = HELD_OUT_STYLE if name.startswith("held-out") else TRAINING_STYLE
        level = 0.0 if name.endswith("easy") else 1.0
        record: dict[str, object] = {"set": name}
        if options.model == "sam2":
            shots = options.shots
            record |= evaluate.measure_prompts(model, shots=shots, level=level, style=style)
            record |= evaluate.measure_tracking(model, shots=shots // 2, level=level, style=style)
        else:
            record |= evaluate.measure_detector(
                model,
                shots=options.shots,
                level=level,
                style=style,
                threshold=demo.DETECTOR_THRESHOLD,
            )
        print(json.dumps(record), flush=True)


def _evaluate_pipeline(options: argparse.Namespace) -> None:
    """J and IDF1 of plates in, mattes out: a line a shot, then the sum."""
    from dataclasses import asdict
    from tempfile import TemporaryDirectory

    from server.executors.engine import WarmModels
    from server.training import evaluate

    models = WarmModels("cpu").for_shot(detector="demo-groundingdino", segmenter="demo-sam2")
    scores = []
    for number in range(options.part[0], options.shots, options.part[1]):
        shot = evaluate.mixed_shot(number, shots=options.shots)
        with TemporaryDirectory() as folder:
            answer = evaluate.pipeline_labels(shot, Path(folder), models=models)
        scores.append(evaluate.score_shot([frame.labels() for frame in shot], answer))
        print(json.dumps({"shot": number, **asdict(scores[-1])}), flush=True)
    print(json.dumps(evaluate.summary(scores)), flush=True)


def _add_publish(commands: Commands) -> None:
    parser = commands.add_parser("publish", help="ship a run's weights with the package")
    parser.add_argument("model", choices=("sam2", "groundingdino"))
    parser.add_argument("folder", type=Path, help="the run's folder")
    parser.set_defaults(command=_publish)


def _publish(options: argparse.Namespace) -> None:
    from server.models import demo

    target = demo.SAM2_WEIGHTS if options.model == "sam2" else demo.GROUNDINGDINO_WEIGHTS
    print(demo.publish(options.folder / "weights.safetensors", target))


def _one_thread() -> None:
    """One thread a process: on shared cores more of them spin and wait for each other."""
    import cv2
    import torch

    warnings.filterwarnings("ignore", module="(timm|groundingdino|transformers|torch|sam2).*")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


if __name__ == "__main__":
    sys.exit(main())
