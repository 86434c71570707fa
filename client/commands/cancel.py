"""The command ``segmatte cancel``: stop a job."""

from __future__ import annotations

import argparse

from client.commands.server import add_server_arguments, connect, describe

HELP = "stop a job; finished frames are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("job", nargs="+", help="id of the job")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask for it.

    Returns:
        0; errors are raised.
    """
    with connect(arguments) as client:
        for job in arguments.job:
            print(describe(client.cancel(job)))
    return 0
