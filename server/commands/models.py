"""The command ``segmatte models``: fetch, list, verify and locate the official models."""

from __future__ import annotations

import argparse
import sys
import time

from server.progress import Progress

HELP = "fetch, list, verify and locate the official models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download a model once, check it and convert it")
    fetch.add_argument("name", help="model name, see `segmatte models list`")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="FILE_OR_URL",
        help="where the checkpoint is, for sites without internet: the file, a folder that holds "
        "it, or a URL (default: the publisher's address)",
    )
    actions.add_parser("list", help="show all models and which are here")
    verify = actions.add_parser("verify", help="read fetched models completely and check them")
    verify.add_argument("names", nargs="*", metavar="name", help="models (default: all fetched)")
    path = actions.add_parser("path", help="print where a model lies, or where all do")
    path.add_argument("name", nargs="?", help="model name (default: the folder of all models)")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action.

    Returns:
        The exit code; errors are raised.

    Raises:
        ModelError: the model does not exist, is absent, damaged or cannot be fetched.
        ResourceError: the disk is full or cannot be written.
    """
    if arguments.action == "fetch":
        return _fetch(arguments.name, source=arguments.source)
    if arguments.action == "verify":
        return _verify(arguments.names)
    if arguments.action == "path":
        return _path(arguments.name)
    return _list()


def _fetch(name: str, *, source: str | None) -> int:
    from server.models import catalogue, store

    model = catalogue.find_model(name)
    print(f"{model.name}: {model.summary}. Weights under {model.licence}.")
    files = store.fetch(name, source=source, report=_ProgressLine())
    print(f"{name} is ready in {files.weights.parent} (sha256 {files.sha256})")
    return 0


def _list() -> int:
    from server.models import store

    print(f"models in {store.models_folder()}\n")
    print(f"{'name':<22}{'here':<10}{'size':>9}  {'licence':<12}what it is")
    for name, what in (
        ("demo-groundingdino", "boxes from text, for drawn demonstration plates only"),
        ("demo-sam2", "masks and tracking, for drawn demonstration plates only"),
    ):
        print(f"{name:<22}{'shipped':<10}{'':>9}  {'Apache-2.0':<12}{what}")
    found = store.states()
    for entry in found:
        model = entry.model
        size = f"{model.checkpoint.size_bytes / 1e6:.0f} MB"
        print(f"{model.name:<22}{entry.state:<10}{size:>9}  {model.licence:<12}{model.summary}")
    for entry in found:
        if entry.problem:
            print(f"\n{entry.problem}")
    return 0


def _verify(names: list[str]) -> int:
    from server.errors import ModelError
    from server.models import store

    chosen = names or [entry.model.name for entry in store.states() if entry.state != "absent"]
    if not chosen:
        print(f"no official model in {store.models_folder()}; `segmatte models fetch NAME`")
        return 0
    failures: list[ModelError] = []
    for name in chosen:
        try:
            files = store.verify(name)
        except ModelError as error:
            print(f"{name}: {error}")
            failures.append(error)
        else:
            print(f"{name}: intact, from the checkpoint with sha256 {files.sha256}")
    return failures[0].exit_code if failures else 0


def _path(name: str | None) -> int:
    from server.models import store

    print(store.require(name).weights.parent if name else store.models_folder())
    return 0


class _ProgressLine:
    """Shows a download: four times a second on a terminal, every ten per cent elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown_at = 0.0
        self._shown_tenth = -1

    def __call__(self, progress: Progress) -> None:
        """Take one report."""
        share = progress.done / progress.total if progress.total else 0.0
        tenth = int(share * 10)
        finished = progress.done == progress.total
        if self._is_terminal and not finished and time.monotonic() - self._shown_at < 0.25:
            return
        if not self._is_terminal and tenth == self._shown_tenth:
            return
        self._shown_at, self._shown_tenth = time.monotonic(), tenth
        line = f"{progress.message}: {progress.done / 1e6:.0f} of {progress.total / 1e6:.0f} MB"
        end = "\r" if self._is_terminal and not finished else "\n"
        print(f"{line} ({share:.0%})", end=end, file=sys.stderr, flush=True)
