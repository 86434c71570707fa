"""Errors of jobs and their server, beside those of the pipeline in ``server.errors``.

    ServerError
    ├── NotFoundError         no such thing, or it belongs to somebody else
    ├── AuthenticationError   who is calling is not known
    ├── PermissionError_      known, and not allowed
    ├── StateError            what was asked does not fit the job's present state
    ├── LimitError            a limit of the site is reached
    ├── BusyError             not now: try again a little later
    └── LeaseLostError        the job was given to another worker; stop, publish nothing

The names travel to clients (without the underscore), so they are part of the wire interface.
"""

from __future__ import annotations

from server.errors import ServerError


class NotFoundError(ServerError):
    """No such job, file or session, as far as this caller may know."""

    exit_code = 2


class AuthenticationError(ServerError):
    """The call carries no token, or none that is known."""

    exit_code = 7


class PermissionError_(ServerError):  # noqa: N801, N818  the plain name is Python's own
    """The caller is known and may not do this."""

    exit_code = 7


class StateError(ServerError):
    """What was asked does not fit the present state: cancel what is done, resume what runs."""

    exit_code = 2


class LimitError(ServerError):
    """A limit of the site is reached; the message says which."""

    exit_code = 4


class BusyError(ServerError):
    """The server cannot do it now and will be able to soon."""

    exit_code = 8


class LeaseLostError(ServerError):
    """The job belongs to another attempt by now; whoever gets this stops and publishes nothing."""
