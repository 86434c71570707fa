"""The command ``segmatte jobs``: list jobs on a server, or change one."""

from __future__ import annotations

import argparse

from client.commands.server import add_server_arguments, connect, describe

HELP = "list jobs on a server; resume, retry, delete or move one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        choices=("queued", "running", "done", "failed", "cancelled"),
    )
    parser.add_argument("--text", default="", help="part of the plate's name or the prompt")
    parser.add_argument("--owner", default="", help="whose (for admins)")
    parser.add_argument("--limit", type=int, default=30)
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--resume", metavar="JOB", help="go on with a failed or cancelled job")
    change.add_argument("--retry", metavar="JOB", help="do it again from the start")
    change.add_argument("--delete", metavar="JOB", help="forget a job and its files")
    change.add_argument("--priority", nargs=2, metavar=("JOB", "NUMBER"), help="move a queued job")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """List or change.

    Returns:
        0; errors are raised.
    """
    from client.shots import STATES

    with connect(arguments) as client:
        if arguments.resume:
            print(describe(client.resume(arguments.resume)))
        elif arguments.retry:
            print(describe(client.retry(arguments.retry)))
        elif arguments.delete:
            client.delete(arguments.delete)
        elif arguments.priority:
            job, number = arguments.priority
            print(describe(client.set_priority(job, int(number))))
        else:
            states = [number for number, name in STATES.items() if name in arguments.state]
            for job in client.jobs(
                states=states, owner=arguments.owner, text=arguments.text, limit=arguments.limit
            ):
                print(describe(job))
    return 0
