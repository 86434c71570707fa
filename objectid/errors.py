"""Errors of the format package, drawn by what the caller does about them.

    ObjectIdError
    ├── RequestError           fix the call: a path, a name, a range, a setting           exit 2
    │   └── FilterError        a filter text cannot be read; knows the position            exit 2
    ├── DamagedFileError       the file is incomplete or contradicts itself: render again  exit 5
    ├── UnsupportedFileError   a sound file that this reader cannot use                    exit 5
    ├── ManifestError          the pixels may be fine, the names are not                   exit 5
    │   └── NewerVersionError  written by a later version of the format: update            exit 5
    └── StorageError           the disk, the network share or the rights said no           exit 4

Every error knows ``reason`` and, where a file is concerned, ``path``; its text is both. Foreign
exceptions (zlib, struct, json, OSError, OpenEXR) are translated where they enter.
"""

from __future__ import annotations

from pathlib import Path


class ObjectIdError(Exception):
    """Root of every error this package raises on purpose.

    Attributes:
        reason: what was expected, what was found, what to do.
        path: the file concerned, if one is.
    """

    exit_code = 1

    def __init__(self, reason: str, *, path: str | Path | None = None) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason = reason
        self.path = None if path is None else Path(path)


class RequestError(ObjectIdError):
    """The call cannot be carried out as it stands; the caller has to change it."""

    exit_code = 2


class FilterError(RequestError):
    """A filter text cannot be read.

    Attributes:
        text: the whole filter text.
        position: 0-based position of the character at fault.
    """

    def __init__(self, reason: str, *, text: str = "", position: int = 0) -> None:
        super().__init__(reason)
        self.text = text
        self.position = position


class DamagedFileError(ObjectIdError):
    """The file is incomplete or contradicts itself; render or copy it again."""

    exit_code = 5


class UnsupportedFileError(ObjectIdError):
    """The file may be sound, but it is not a deep file with ids, or of a kind not read here."""

    exit_code = 5


class ManifestError(ObjectIdError):
    """The table of names is missing, not readable, or contradicts the samples."""

    exit_code = 5


class NewerVersionError(ManifestError):
    """The file was written by a later version of the format; update this reader."""


class StorageError(ObjectIdError):
    """Reading or writing failed outside this package: disk full, no rights, share gone."""

    exit_code = 4
