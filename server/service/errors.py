"""Exception → gRPC status, in one table; the client has the table back (``client/errors.py``)."""

from __future__ import annotations

import grpc

from server import errors
from server.jobs import errors as job_errors

KIND_KEY = "segmatte-error"
"""Trailing metadata that names the exception."""

STATUS: tuple[tuple[type[BaseException], grpc.StatusCode], ...] = (
    (errors.InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.ModelError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ResourceError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.ResultError, grpc.StatusCode.DATA_LOSS),
    (errors.CancelledError, grpc.StatusCode.CANCELLED),
    (job_errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (job_errors.AuthenticationError, grpc.StatusCode.UNAUTHENTICATED),
    (job_errors.PermissionError_, grpc.StatusCode.PERMISSION_DENIED),
    (job_errors.StateError, grpc.StatusCode.FAILED_PRECONDITION),
    (job_errors.LimitError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (job_errors.BusyError, grpc.StatusCode.UNAVAILABLE),
)


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str, str]:
    """What a caller is told of an exception.

    Returns:
        Status, sentence, and the exception's name for ``KIND_KEY``.
    """
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status, str(error), type(error).__name__.rstrip("_")
    return (
        grpc.StatusCode.INTERNAL,
        "Internal error. The server's log has the details.",
        "InternalError",
    )
