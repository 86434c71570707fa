"""``python -m objectid``: the commands of this package for those who use nothing else."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from objectid.errors import ObjectIdError

_COMMANDS = ("pick", "inspect", "objects", "convert")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code says how it went."""
    parser = argparse.ArgumentParser(prog="objectid", description="Deep EXR files of object ids.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        module = importlib.import_module(f"objectid.commands.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except ObjectIdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
