"""The command ``segmatte watch``: follow a job until it ends."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from client.commands.server import (
    Line,
    add_server_arguments,
    connect,
    duration,
    exit_code,
    state_name,
)

HELP = "follow a job until it ends"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("job", help="id of the job")
    parser.add_argument("--quiet", action="store_true", help="only say how it ended")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Follow the job.

    Returns:
        0 when it is done, 6 when nothing was found; errors are raised, a failed job's own among
        them.
    """
    with connect(arguments) as client:
        job = follow(client, arguments.job, quiet=arguments.quiet)
        print(f"{job.id} {state_name(job.state)} {job.result_note}".rstrip())
        return exit_code(job)


def follow(client: Any, job_id: str, *, quiet: bool = False) -> Any:
    """Show a job's progress until it is done.

    Raises:
        ClientError: it failed or was cancelled.
    """
    from client.library import check_done
    from protos import segmatte_pb2 as wire

    line = Line()
    job = None
    for update in client.watch(job_id, away=lambda text: print(f"\n{text}", file=sys.stderr)):
        job = update.job
        for event in update.events:
            if event.kind in (wire.JobEvent.WARNING, wire.JobEvent.LOG) and not quiet:
                line.end()
                kind = "warning: " if event.kind == wire.JobEvent.WARNING else ""
                print(f"{kind}{event.text}", file=sys.stderr)
        if not quiet:
            _draw(line, job)
    line.end()
    return check_done(job if job is not None else client.job(job_id))


def _draw(line: Line, job: Any) -> None:
    progress = job.progress
    if not progress.stage:
        line.draw(
            state_name(job.state), f"place {job.queue_position}" if job.queue_position else ""
        )
        return
    stage = next((s for s in progress.stages if s.name == progress.stage), None)
    rest = f"{stage.done}/{stage.total or '?'}" if stage else ""
    if progress.frames_per_minute > 0:
        rest += f", {progress.frames_per_minute:.1f} frames/min"
    if progress.seconds_left > 0:
        rest += f", {duration(progress.seconds_left)} left"
    line.draw(progress.stage, rest)
