"""Errors of the client: the server's own by name, and those of the way there.

    ClientError
    ├── InputError            the request cannot be carried out as it stands           exit 2
    │   ├── PlateError  PromptError  SettingsError
    ├── ModelError            a model has to be fetched on the server                  exit 3
    ├── ResourceError         disk or memory ran out, or a limit is reached            exit 4
    │   └── LimitError
    ├── ResultError           a result is damaged, here or there                       exit 5
    ├── AuthenticationError  PermissionError_   not known, or not allowed              exit 7
    ├── BusyError             the server is away or busy: try again                    exit 8
    ├── NotFoundError  StateError               no such thing; it does not fit now     exit 2
    ├── CancelledError        stopped on request                                       exit 130
    └── InternalError         the server's own fault; its log has the details          exit 1

``translated`` is the table back from gRPC status; nothing of grpc leaves this package.
"""

from __future__ import annotations

import grpc

_KIND_KEY = "segmatte-error"


class ClientError(Exception):
    """Root of every error the client raises on purpose."""

    exit_code = 1
    retryable = False
    """Whether the same call can succeed later."""

    @property
    def kind(self) -> str:
        """The name shared with the server."""
        return type(self).__name__.rstrip("_")


class InputError(ClientError):
    """The request cannot be carried out as it stands."""

    exit_code = 2


class PlateError(InputError):
    """The plate, or one frame of it, cannot be used."""


class PromptError(InputError):
    """A prompt cannot be used."""


class SettingsError(InputError):
    """A setting is unknown or out of range."""


class ModelError(ClientError):
    """A model has to be fetched on the server."""

    exit_code = 3


class ResourceError(ClientError):
    """Disk or memory ran out; free some and repeat."""

    exit_code = 4
    retryable = True


class LimitError(ResourceError):
    """A limit of the site is reached."""


class ResultError(ClientError):
    """A result is damaged or not there any more."""

    exit_code = 5


class AuthenticationError(ClientError):
    """The server does not know the caller."""

    exit_code = 7


class PermissionError_(ClientError):  # noqa: N801, N818  the plain name is Python's own
    """The caller may not do this."""

    exit_code = 7


class BusyError(ClientError):
    """The server is away, starting, stopping or busy."""

    exit_code = 8
    retryable = True


class NotFoundError(ClientError):
    """There is no such job, file or session among the caller's."""

    exit_code = 2


class StateError(ClientError):
    """What was asked does not fit the job's present state."""

    exit_code = 2


class CancelledError(ClientError):
    """Stopped on request."""

    exit_code = 130


class InternalError(ClientError):
    """The server's own fault."""


_BY_STATUS: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InputError,
    grpc.StatusCode.FAILED_PRECONDITION: StateError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceError,
    grpc.StatusCode.DATA_LOSS: ResultError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionError_,
    grpc.StatusCode.UNAVAILABLE: BusyError,
    grpc.StatusCode.DEADLINE_EXCEEDED: BusyError,
}
_BY_KIND: dict[str, type[ClientError]] = {
    kind.__name__.rstrip("_"): kind
    for kind in (
        InputError,
        PlateError,
        PromptError,
        SettingsError,
        ModelError,
        ResourceError,
        LimitError,
        ResultError,
        AuthenticationError,
        PermissionError_,
        BusyError,
        NotFoundError,
        StateError,
        CancelledError,
        InternalError,
    )
}


def error_of_kind(kind: str, message: str) -> ClientError:
    """The error a server names, for example in ``Job.error``."""
    return _BY_KIND.get(kind, InternalError)(message)


def translated(error: grpc.RpcError, *, address: str) -> ClientError:
    """What a failed call means.

    Args:
        error: as grpc raised it.
        address: of the server, for the message.
    """
    call = error if isinstance(error, grpc.Call) else None
    status = call.code() if call else grpc.StatusCode.UNKNOWN
    details = (call.details() if call else "") or ""
    metadata: dict[str, str | bytes] = {}
    if call is not None:
        metadata.update((item[0], item[1]) for item in call.trailing_metadata() or ())
    kind = metadata.get(_KIND_KEY)
    if isinstance(kind, str):
        return error_of_kind(kind, details)
    if status is grpc.StatusCode.UNAVAILABLE:
        return BusyError(
            f"No server answers at {address} ({details or 'no connection'}). Start one with "
            "`segmatte serve`, or set SEGMATTE_SERVER to its address."
        )
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BusyError(f"The server at {address} did not answer in time. Try again.")
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return StateError(f"The server at {address} is too old for this call. Update it.")
    return _BY_STATUS.get(status, InternalError)(details or f"The call failed: {status.name}.")
