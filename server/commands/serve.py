"""The command ``segmatte serve``: a server that takes shots over gRPC."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "start a server that takes shots over gRPC"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; more settings are in the file and the environment."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML)")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (7766); 0: a free one")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder of jobs and results")
    parser.add_argument(
        "--device",
        dest="devices",
        action="append",
        metavar="DEVICE",
        help="one worker each: cuda:0, cpu (default: every GPU, else the CPU)",
    )
    parser.add_argument("--detector", metavar="MODEL", help="usual model of stage 1")
    parser.add_argument("--segmenter", metavar="MODEL", help="usual model of stages 2 and 3")
    parser.add_argument(
        "--executor",
        choices=("local", "ray"),
        help="where workers run: this machine (default), or a Ray cluster",
    )
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="Prometheus metrics")
    parser.add_argument("--log-format", choices=("text", "json"))
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument(
        "--print-config", action="store_true", help="show what the settings come to, and end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Returns:
        0; errors are raised.

    Raises:
        SettingsError: it cannot serve like that.
        ResourceError: the state folder cannot be used.
    """
    from server.settings import load_settings

    names = (
        *("host", "port", "state", "devices", "detector", "segmenter", "executor"),
        *("metrics_port", "log_format", "log_level"),
    )
    given = {name: getattr(arguments, name) for name in names}
    settings = load_settings(given, config=arguments.config)
    if arguments.print_config:
        print(settings.describe())
        return 0
    import asyncio

    from server.service.host import Host, serve, start_logging

    start_logging(level=settings.log_level, form=settings.log_format)

    def started(host: Host) -> None:
        print(f"Serving on {host.address}", flush=True)
        if host.token_file is not None:
            print(f"Token for this user: {host.token_file} (clients find it)", flush=True)

    asyncio.run(serve(settings, started=started))
    return 0
