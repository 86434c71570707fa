"""The command ``segmatte ingest``: new plates of a folder are submitted unattended."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from client.commands.server import add_server_arguments, connect

if TYPE_CHECKING:
    from client.ingest import Asked, Journal, Watcher

HELP = "submit new plates of a folder unattended: watch, once, report, retry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    watch = actions.add_parser("watch", help="look again and again, until SIGTERM or Ctrl-C")
    once = actions.add_parser("once", help="look now and end, for a hook of the studio's own")
    report = actions.add_parser("report", help="what became of the plates, and what waits why")
    retry = actions.add_parser("retry", help="begin failed plates anew")
    for action in (watch, once, report, retry):
        action.add_argument("folder", type=Path, help="the watched folder")
        action.add_argument(
            "--journal",
            type=Path,
            metavar="FILE",
            help="memory, on a local disk (default: one per folder in $SEGMATTE_STATE, else "
            "~/.local/state/segmatte)",
        )
    for action, looks, pause in ((watch, 3, 30.0), (once, 2, 5.0)):
        _add_asked(action, looks=looks, pause=pause)
        add_server_arguments(action)
    once.add_argument("--wait", action="store_true", help="until the results are in place")
    once.add_argument(
        "--pass-by",
        action="store_true",
        help="only take note of the plates that are there: they are never submitted. Do it once "
        "before the first watch of a folder with old plates",
    )
    retry.add_argument(
        "--match", default="*", metavar="GLOB", help="path of the plates (default: all failed)"
    )


def _add_asked(parser: argparse.ArgumentParser, *, looks: int, pause: float) -> None:
    parser.add_argument(
        "--out",
        required=True,
        metavar="TEMPLATE",
        help="folder of a result: '/mattes/{relative}/{name}'. Fields: {root} {relative} {folder} "
        "{name} {suffix} {version}",
    )
    parser.add_argument("--prompt", default="person", metavar="TEXT", help="default: person")
    parser.add_argument(
        "--match",
        default="*",
        metavar="GLOB",
        help="plates' paths below the folder: '*/plates/*.exr' (default: all)",
    )
    parser.add_argument(
        "--sentinel",
        default="",
        metavar="NAME",
        help="file that stands beside a complete plate: 'done' or '{name}.ready' (default: none "
        "is asked for)",
    )
    parser.add_argument(
        "--every", type=float, default=pause, metavar="SECONDS", help=f"default: {pause:g}"
    )
    parser.add_argument(
        "--looks",
        type=int,
        default=looks,
        metavar="N",
        help="a plate is complete when it was the same at so many looks; 1 if the caller knows it "
        f"is (default: {looks})",
    )
    parser.add_argument(
        "--tries", type=int, default=5, metavar="N", help="failures until giving up (default: 5)"
    )
    parser.add_argument("--priority", type=int, default=-10, help="-100..100 (default: -10)")
    parser.add_argument("--colorspace", default="", metavar="NAME", help="of all the plates")
    parser.add_argument("--detector", default="", metavar="MODEL")
    parser.add_argument("--segmenter", default="", metavar="MODEL")
    parser.add_argument(
        "--upload", action="store_true", help="send the pictures; the server does not see FOLDER"
    )
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action.

    Returns:
        The exit code: 8 if the server was away at the end of ``once``; errors are raised.

    Raises:
        ClientError: the folder, the template or the journal cannot be used.
    """
    from client.ingest import Journal, journal_of

    root = arguments.folder.absolute()
    with Journal(arguments.journal or journal_of(root)) as journal:
        if arguments.action == "report":
            return _report(journal)
        if arguments.action == "retry":
            return _retry(journal, arguments.match)
        return _look(arguments, _asked(arguments, root), journal)


def _asked(arguments: argparse.Namespace, root: Path) -> Asked:
    from client.ingest import Asked

    return Asked(
        root,
        out=arguments.out,
        prompt=arguments.prompt,
        match=arguments.match,
        sentinel=arguments.sentinel,
        looks=arguments.looks,
        tries=arguments.tries,
        pause_seconds=arguments.every,
        priority=arguments.priority,
        upload=arguments.upload,
        colorspace=arguments.colorspace,
        detector=arguments.detector,
        segmenter=arguments.segmenter,
        labels=dict(label.partition("=")[::2] for label in arguments.label),
    )


def _look(arguments: argparse.Namespace, asked: Asked, journal: Journal) -> int:
    from client.ingest import Watcher

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with connect(arguments) as client:
        watcher = Watcher(asked, journal, client, say=_say, stopping=stopping)
        if arguments.action == "watch":
            return _watch(watcher, asked, stopping)
        for look in range(asked.looks):
            if look:
                stopping.wait(asked.pause_seconds)
            if not stopping.is_set():
                watcher.look(pass_by=arguments.pass_by)
        while arguments.wait and journal.unfinished() and not stopping.wait(asked.pause_seconds):
            watcher.look()
    if stopping.is_set():
        return 130
    return 8 if watcher.server_away else 0


def _watch(watcher: Watcher, asked: Asked, stopping: threading.Event) -> int:
    from client.errors import ClientError

    _say(f"watching   {asked.root}, every {asked.pause_seconds:g} s")
    trouble = ""
    while not stopping.is_set():
        try:
            watcher.look()
            trouble = ""
        except ClientError as error:  # a network folder comes back, a full disk is cleared
            if str(error) != trouble:
                _say(f"trouble    {error}")
            trouble = str(error)
        stopping.wait(asked.pause_seconds)
    _say("stopped    on request; the next start goes on")
    return 0


def _report(journal: Journal) -> int:
    for version in journal.versions():
        print(
            f"{version.state:<10} {version.plate} {version.first}-{version.last} "
            f"version {version.number}  {_when(version.changed)}  {version.job or '-'}  "
            f"{version.note or version.folder}"
        )
    for plate, (reason, since) in journal.waiting().items():
        print(f"{'waits':<10} {plate}  {_when(since)}  {reason}")
    return 0


def _retry(journal: Journal, match: str) -> int:
    from fnmatch import fnmatchcase

    for version in journal.versions():
        if version.state == "failed" and fnmatchcase(version.plate, match):
            journal.change(
                version, state="new", job="", round=version.round + 1, tries=0, due=0, note=""
            )
            print(f"again      {version.plate} version {version.number}")
    return 0


def _say(line: str) -> None:
    print(f"{_when(time.time())} {line}", flush=True)


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
