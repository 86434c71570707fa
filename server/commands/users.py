"""The command ``segmatte users``: who may use this machine's server."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "users and tokens of a server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the server (TOML)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder of the server")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add somebody, or give them a new token")
    add.add_argument("name")
    add.add_argument("--admin", action="store_true", help="sees and changes everybody's jobs")
    add.add_argument("--group", action="append", default=[], metavar="NAME")
    remove = actions.add_parser("remove", help="take away somebody's access; their jobs stay")
    remove.add_argument("name")
    actions.add_parser("list", help="show everybody")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action.

    Returns:
        0; errors are raised.
    """
    from server.jobs.store import Store
    from server.jobs.users import add_user
    from server.settings import load_settings

    settings = load_settings({"state": arguments.state}, config=arguments.config)
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(settings.store_path)
    try:
        if arguments.action == "add":
            token = add_user(
                store, arguments.name, is_admin=arguments.admin, groups=arguments.group
            )
            print(token)
        elif arguments.action == "remove":
            store.remove_user(arguments.name)
        else:
            for user in store.users():
                groups = " ".join(user.groups)
                print(f"{user.name:<24} {'admin' if user.is_admin else '':<6} {groups}".rstrip())
    finally:
        store.close()
    return 0
