"""What all commands share that talk to a server: its options, and a job in a line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.library import Client


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which server, and who asks."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="address (default: $SEGMATTE_SERVER, else the server of this user, else "
        "127.0.0.1:7766)",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token (default: $SEGMATTE_TOKEN, else the one this user's server left)",
    )
    group.add_argument(
        "--ca", type=Path, metavar="FILE", help="PEM to check the server's certificate; means TLS"
    )


def connect(arguments: argparse.Namespace) -> Client:
    """The server a command line means."""
    from client.connection import find_server
    from client.library import Client

    return Client(
        find_server(
            arguments.server,
            token_file=arguments.token_file,
            certificate_authority=arguments.ca,
        )
    )


def add_upload_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of plates that are on this machine alone."""
    parser.add_argument(
        "--upload",
        action="store_true",
        help="the plate is on this machine alone: send pictures of it as the models see it "
        "(needs segmatte[server] here, else its files are sent); mattes are of the plate's size",
    )
    parser.add_argument(
        "--upload-files", action="store_true", help="send the plate's own files instead"
    )


def plate_to_upload(
    arguments: argparse.Namespace, folder: Path, *, frames: str, options: Any
) -> tuple[Any, dict[bytes, Path]]:
    """The plate of a command with ``add_upload_arguments``, ready to be sent.

    Args:
        arguments: of the command.
        folder: for pictures, until they are sent.
        frames: range wanted; empty: all.
        options: PlateOptions of the request; emptied of what the pictures contain already.

    Returns:
        PlateSource, and sha256 → file.
    """
    from client.shots import makes_pictures, parse_range, picture_source, upload_source
    from protos import segmatte_pb2 as wire

    if not arguments.upload_files and makes_pictures():
        found = picture_source(
            arguments.plate,
            folder,
            frames=frames,
            colorspace=options.colorspace,
            exposure="auto" if options.auto_exposure else str(options.exposure_stops),
        )
        options.CopyFrom(wire.PlateOptions())
        return found
    if not arguments.upload_files:
        print(
            "Sending the plate's own files: making smaller pictures of it needs segmatte[server] "
            "on this machine.",
            file=sys.stderr,
        )
    chosen = parse_range(frames) if frames else None
    return upload_source(
        arguments.plate,
        first=chosen.first if chosen else None,
        last=chosen.last if chosen else None,
    )


def state_name(state: Any) -> str:
    """A job's state as people call it; what a newer server says is "unknown"."""
    from client.shots import STATES

    return STATES.get(state, "unknown")


def exit_code(job: Any) -> int:
    """What a program ends with whose job is done: 0, or 6 when nothing was found."""
    return 6 if job.result_note.startswith("Nothing was found") else 0


def describe(job: Any) -> str:
    """A job in a line."""
    progress = job.progress
    asked = job.prompt or ", ".join(job.object_names)
    text = f"{job.id}  {state_name(job.state):<9}"
    if progress.frames_total:
        text += f" {progress.frames_done}/{progress.frames_total}"
    elif job.queue_position:
        text += f" #{job.queue_position}"
    return f"{text}  {job.plate}  {asked}"


def duration(seconds: float) -> str:
    """``1:05`` or ``2:03:04``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Line:
    """One line on a terminal that is drawn over; in a log file, a line per change of its head."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._head = ""

    def draw(self, head: str, rest: str) -> None:
        """Show progress."""
        if self._live:
            print(f"\r\x1b[K{head} {rest}", end="", file=sys.stderr, flush=True)
        elif head != self._head:
            print(f"{head} {rest}", file=sys.stderr, flush=True)
        self._head = head

    def end(self) -> None:
        """Leave the line as it is."""
        if self._live and self._head:
            print(file=sys.stderr)
        self._head = ""
