"""The command ``segmatte admin``: queue, workers and drain of this machine's server.

Works on the job store itself, beside a running server, so it needs the rights of the user who
runs that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.jobs.store import Store

HELP = "queue, workers and drain of a running server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the server (TOML)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder of the server")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    queue = actions.add_parser("queue", help="jobs that wait or run, in their order")
    queue.add_argument("--limit", type=int, default=50)
    actions.add_parser("workers", help="what each worker does")
    actions.add_parser("drain", help="hand out and take in no more jobs; running ones go on")
    actions.add_parser("undrain", help="go on as usual")
    cancel = actions.add_parser("cancel", help="stop anybody's job")
    cancel.add_argument("job")
    actions.add_parser("check", help="check the job store for damage")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action.

    Returns:
        0, or 5 when the store is damaged; errors are raised.

    Raises:
        SettingsError: there is no server's store.
    """
    from server.errors import SettingsError
    from server.jobs.store import Store
    from server.settings import load_settings

    settings = load_settings({"state": arguments.state}, config=arguments.config)
    if not settings.store_path.exists():
        raise SettingsError(
            f"Expected a server's job store at {settings.store_path}, found none. Give its --state."
        )
    store = Store(settings.store_path)
    try:
        return _act(store, arguments)
    finally:
        store.close()


def _act(store: Store, arguments: argparse.Namespace) -> int:
    if arguments.action == "queue":
        jobs = store.jobs(states=["running", "queued"], limit=1_000_000)
        jobs.sort(key=lambda job: (job.state != "running", -job.priority, job.number))
        for job in jobs[: arguments.limit]:
            print(
                f"{job.id}  {job.state:<8} {job.priority:>4}  {job.owner:<16} "
                f"{job.frames_done}/{job.frames_total or '?'}  {job.title.get('plate', '')}"
            )
        print(f"{len(jobs)} jobs{', draining' if store.draining else ''}")
    elif arguments.action == "workers":
        for worker in store.workers():
            print(f"{worker.name:<12} {worker.state:<9} pid {worker.pid:<8} {worker.job}".rstrip())
    elif arguments.action in ("drain", "undrain"):
        store.drain(arguments.action == "drain")
    elif arguments.action == "cancel":
        print(store.cancel(arguments.job).state)
    else:
        found = store.check()
        print(found)
        return 0 if found == "ok" else 5
    return 0
