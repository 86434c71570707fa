"""The image's health probe: asks the server in this container by the gRPC health service.

It reads the same settings as the server. With TLS it trusts the server's own certificate and asks
under the name that stands in it, so it needs no authority and no name that resolves in here.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.settings import load_settings

_TIMEOUT_SECONDS = 5.0


def main() -> int:
    """Ask once; returns 0 when it serves."""
    settings = load_settings({})
    try:
        port = int(json.loads(settings.address_file.read_text())["address"].rpartition(":")[2])
        channel = _channel(port, certificate=settings.tls_certificate)
        with channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
    except (OSError, ValueError, grpc.RpcError) as error:
        sys.stderr.write(f"Expected a server that answers, found none: {error}\n")
        return 1
    sys.stdout.write(f"{health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}\n")
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


def _channel(port: int, *, certificate: Path | None) -> grpc.Channel:
    address = f"127.0.0.1:{port}"
    if certificate is None:
        return grpc.insecure_channel(address)
    name = _name_in_certificate(port, certificate)
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    options = (("grpc.ssl_target_name_override", name),)
    return grpc.secure_channel(address, credentials, options)


def _name_in_certificate(port: int, certificate: Path) -> str:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    with (
        socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain) as secured,
    ):
        found = secured.getpeercert() or {}
    names = [entry[1] for entry in found.get("subjectAltName", ())]
    if not names:
        raise ValueError(f"{certificate} names no host")
    return str(names[0]).replace("*", "host", 1)


if __name__ == "__main__":
    sys.exit(main())
