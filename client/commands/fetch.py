"""The command ``segmatte fetch``: download a job's results, also while it runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from client.commands.server import Line, add_server_arguments, connect, state_name

HELP = "download a job's results; what is there already is not loaded again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("job", help="id of the job")
    parser.add_argument("out", type=Path, metavar="DIR", help="where to")
    parser.add_argument("--frames", "--range", metavar="RANGE", help="only these frames")
    parser.add_argument("--follow", action="store_true", help="load frames as they are finished")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Download.

    Returns:
        0; errors are raised.
    """
    from client.shots import parse_range

    chosen = parse_range(arguments.frames) if arguments.frames else None
    with connect(arguments) as client:
        if arguments.follow:
            from client.library import check_done

            job = None
            for update in client.watch(arguments.job):
                job = update.job
                if any(event.frame for event in update.events):
                    fetch(client, arguments.job, arguments.out, chosen=chosen, quiet=True)
            check_done(job if job is not None else client.job(arguments.job))
        fetch(client, arguments.job, arguments.out, chosen=chosen)
    return 0


def fetch(client: Any, job_id: str, out: Path, *, chosen: Any = None, quiet: bool = False) -> int:
    """Load what is finished and not here yet.

    Returns:
        How many files were loaded.

    Raises:
        ClientError: a file is damaged, or the server cannot give it.
    """
    from client.library import safe_target

    first, last = (chosen.first, chosen.last) if chosen is not None else (None, None)
    answer = client.results(job_id, first=first, last=last)
    line, loaded = Line(), 0
    for number, file in enumerate(answer.files, 1):
        loaded += client.download(job_id, file, safe_target(out, file.name))
        if not quiet:
            line.draw("fetch", f"{number}/{len(answer.files)}")
    line.end()
    if not quiet:
        note = ""
        if not answer.complete:
            state = state_name(client.job(job_id).state)
            note = f" (job {state}: fetch again for the rest once it is done)"
        print(f"{loaded} of {len(answer.files)} files loaded into {out}{note}", file=sys.stderr)
    return loaded
