"""Errors of the server package, drawn by what the caller does about them.

    ServerError
    ├── InputError           fix the request: a path, a range, a prompt, a setting   exit 2
    │   ├── PlateError       a plate or one of its frames cannot be used
    │   ├── PromptError      a text or artist prompt cannot be used
    │   └── SettingsError    a setting is unknown, out of range or contradicts a running shot
    ├── ModelError           fetch or repair the model named in the message          exit 3
    ├── ResourceError        disk or memory ran out: free some and repeat            exit 4
    ├── ResultError          a result folder is damaged or is not one of ours        exit 5
    └── CancelledError       the user asked to stop; finished frames are kept        exit 130

A message says what was expected, what was found and what to do next. Foreign exceptions (torch,
OpenImageIO, OSError) are translated where they enter, never shown to the user.
"""

from __future__ import annotations

from pathlib import Path


class ServerError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 1


class InputError(ServerError):
    """The request cannot be carried out as it stands; the caller has to change it."""

    exit_code = 2


class PlateError(InputError):
    """A plate, or one frame of it, cannot be used.

    Attributes:
        path: the file or sequence concerned, if known.
        frame: the plate's frame number concerned, if one.
    """

    def __init__(self, message: str, *, path: Path | None = None, frame: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.frame = frame


class PromptError(InputError):
    """A text prompt or an artist's prompt file cannot be used."""


class SettingsError(InputError):
    """A setting is unknown, out of range, or differs from those a shot was started with."""


class ModelError(ServerError):
    """A model is not fetched, damaged, or does not fit its code; the message names the cure."""

    exit_code = 3


class ResourceError(ServerError):
    """Disk or memory ran out; the same request can succeed once some is free."""

    exit_code = 4


class ResultError(ServerError):
    """A result folder is damaged, incomplete, or was not written by this program."""

    exit_code = 5


class CancelledError(ServerError):
    """The user asked to stop; every finished frame is kept and can be resumed."""

    exit_code = 130
