"""The program ``segmatte``: finds the module of a command and hands it the command line.

The only place that knows all commands. A command's module is imported when it is asked for, so
the first line of any command appears at once, and a base install without the server's packages
can still run the commands that do not need them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from types import ModuleType

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("server.commands.demo", "draw a plate and run everything on it"),
    "run": ("server.commands.run", "plate in, named mattes out, on this machine"),
    "stage": ("server.commands.stage", "one stage of a shot, for a render farm"),
    "correct": ("server.commands.correct", "re-track one object of a finished shot"),
    "pick": ("objectid.commands.pick", "mattes of the objects a pattern names"),
    "inspect": ("objectid.commands.inspect", "what is in a result folder or a file"),
    "objects": ("objectid.commands.objects", "combine, rename, merge, delete or move objects"),
    "convert": ("objectid.commands.convert", "Cryptomatte and flat mattes from ObjectId files"),
    "models": ("server.commands.models", "fetch, list and verify the official models"),
    "selftest": ("server.commands.selftest", "devices, models, versions and a tiny timed job"),
    "serve": ("server.commands.serve", "start a server that takes shots over gRPC"),
    "users": ("server.commands.users", "users and tokens of a server"),
    "admin": ("server.commands.admin", "queue, workers and drain of a running server"),
    "submit": ("client.commands.submit", "send a shot to a server"),
    "jobs": ("client.commands.jobs", "list jobs on a server"),
    "watch": ("client.commands.watch", "follow a job"),
    "cancel": ("client.commands.cancel", "stop a job; finished frames are kept"),
    "fetch": ("client.commands.fetch", "download a job's results"),
    "preview": ("client.commands.preview", "try a prompt on one frame"),
    "web": ("client.commands.web", "serve the browser pages: bench, clicks, jobs"),
    "farm": ("client.commands.farm", "a shot as a job for a render farm"),
    "ingest": ("client.commands.ingest", "submit new plates of a folder unattended"),
    "nuke": ("client.commands.nuke", "install the plugin into Nuke"),
}
"""Command → (module, one line of help). A module has ``add_arguments`` and ``run``."""

EPILOG = """exit codes: 0 done; 1 internal error; 2 the request cannot be carried out as it stands;
3 a model is missing or damaged; 4 disk or memory ran out; 5 a result is damaged or not ours;
6 done, but nothing was found; 7 not known to the server, or not allowed; 8 the server is away or
busy; 130 stopped on request"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; None takes the process's.

    Returns:
        The exit code, as the epilog of ``segmatte --help`` lists them.
    """
    given = sys.argv[1:] if arguments is None else arguments
    name = given[0] if given else "--help"
    if name not in COMMANDS:
        return _overview(name)
    module = _load(name)
    if module is None:
        return 2
    parser = argparse.ArgumentParser(
        prog=f"segmatte {name}",
        description=module.HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args(given[1:])))
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"segmatte {name}: {error}", file=sys.stderr)
        return int(code)


def _overview(name: str) -> int:
    available = {c: h for c, (m, h) in COMMANDS.items() if _exists(m)}
    if name in ("--help", "-h", "help"):
        width = max(map(len, available))
        lines = [f"  {command:<{width}}  {text}" for command, text in available.items()]
        print("usage: segmatte COMMAND …\n\n" + "\n".join(lines))
        print(f"\n`segmatte COMMAND --help` explains one.\n\n{EPILOG}")
        return 0
    if name == "--version":
        from importlib.metadata import version

        print(f"segmatte {version('segmatte')}")
        return 0
    print(
        f"segmatte: {name!r} is no command. Expected one of: {', '.join(available)}.",
        file=sys.stderr,
    )
    return 2


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _load(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(COMMANDS[name][0])
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("client", "server", "objectid"):
            print(f"segmatte: {name} is not part of this version.", file=sys.stderr)
        else:
            wanted = "segmatte[server]" if COMMANDS[name][0].startswith("server") else "segmatte"
            print(
                f"segmatte {name} needs the package {error.name!r}, which is not installed. "
                f"Install it: pip install '{wanted}'",
                file=sys.stderr,
            )
        return None


if __name__ == "__main__":
    sys.exit(main())
