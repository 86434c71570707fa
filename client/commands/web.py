"""The command ``segmatte web``: serve the browser pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from client.commands.server import add_server_arguments

HELP = "serve the browser pages: prompt bench, click segmentation, jobs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7780, help="0: any free one")
    parser.add_argument("--name", default="", help="host name people open, for a network address")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="for TLS")
    parser.add_argument("--key", type=Path, metavar="PEM", help="of the certificate")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until stopped.

    Returns:
        0; errors are raised.
    """
    import socket

    from client.connection import find_server
    from client.errors import InputError

    try:
        import uvicorn

        from client.web.access import Address
        from client.web.app import make_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"The pages need the package {error.name!r}, which is not installed. Install it: "
            "pip install 'segmatte[web]'"
        ) from error

    if (arguments.certificate is None) != (arguments.key is None):
        raise InputError("TLS needs both --certificate and --key.")
    server = find_server(
        arguments.server, token_file=arguments.token_file, certificate_authority=arguments.ca
    )
    tls = arguments.certificate is not None
    Address(arguments.host, arguments.port, tls, arguments.name).check()
    try:
        family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
        listener = socket.create_server((arguments.host, arguments.port), family=family)
    except OSError as error:
        raise InputError(
            f"Cannot listen on {arguments.host}:{arguments.port}: {error.strerror}. Choose another "
            "--port."
        ) from error
    with listener:
        address = Address(arguments.host, listener.getsockname()[1], tls, arguments.name)
        app, visits = make_app(server, address)
        if visits.once:
            print(f"Open {address.url}/?key={visits.once}", flush=True)
            print("The key works once; later sign in with a token.", file=sys.stderr)
        else:
            print(f"Open {address.url}", flush=True)
        uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=arguments.certificate,
                ssl_keyfile=arguments.key,
                timeout_graceful_shutdown=2,
            )
        ).run(sockets=[listener])
    return 0
