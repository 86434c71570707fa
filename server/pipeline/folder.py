"""A result folder: where everything of one shot lies, and whether it may be written to.

::

    DIR/objectid/NAME.####.exr   the mattes          DIR/contact_sheet.png
    DIR/NAME.manifest.json       the shot's sidecar  DIR/overlay.webm
    DIR/report.json                                  DIR/work/   may be deleted when finished

``work/shot.json`` is written first and fixes what decides the result; a resumed run must agree.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from server.errors import InputError, ResultError, SettingsError
from server.track.cache import save_atomically


def shot_name(plate_name: str) -> str:
    """Name of a shot's files: the plate's without frame number and suffix.

    ``plate_v02.####.exr`` and ``plate_v02.1001.exr`` give ``plate_v02``.
    """
    stem = re.sub(r"\.[^.]*$", "", plate_name)
    stem = re.sub(r"([._-]?(#+|@+|%0?\d*d)|\.-?\d+)$", "", stem)
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "shot"


class ResultFolder:
    """Paths of one shot's result."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    @property
    def work(self) -> Path:
        """Files between the stages; may be deleted when the shot is finished."""
        return self.path / "work"

    @property
    def shot_file(self) -> Path:
        """What the shot was started with."""
        return self.work / "shot.json"

    @property
    def objectid(self) -> Path:
        """Folder of the delivered frames."""
        return self.path / "objectid"

    def frame_path(self, frame: int) -> Path:
        """One delivered frame; at least four digits, a minus sign before them."""
        sign = "-" if frame < 0 else ""
        return self.objectid / f"{self.name}.{sign}{abs(frame):04d}.exr"

    @property
    def sidecar(self) -> Path:
        """The shot's manifest."""
        return self.path / f"{self.name}.manifest.json"

    @property
    def report(self) -> Path:
        """Measurements, settings and everything that was rejected."""
        return self.path / "report.json"

    @property
    def contact_sheet(self) -> Path:
        """Overlays of frames spread over the shot."""
        return self.path / "contact_sheet.png"

    @property
    def overlay(self) -> Path:
        """The shot with its objects tinted and named, as a video."""
        return self.path / "overlay.webm"

    def start(self, shot: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready for a run.

        Args:
            shot: JSON values of everything that decides the result.
            resume: go on with a run that was started with the same values.
            overwrite: remove an earlier result first.

        Raises:
            InputError: there is a result already, or nothing to resume.
            SettingsError: the run to resume was started with other values; they are named.
            ResourceError: the folder cannot be written.
        """
        if overwrite:
            self._remove()
        started = self.shot_file.exists()
        if resume:
            if not started:
                raise InputError(
                    f"There is no started run in {self.path} to resume. Leave --resume out to "
                    "start one."
                )
            self._check_same(read_json(self.shot_file), shot)
            self._clear_drafts()
            return
        if started:
            raise self._occupied()
        self._refuse_result()
        write_json(self.shot_file, shot)

    def join(self, shot: dict[str, Any]) -> None:
        """Start a run, or take part in one; several machines may do so at the same moment.

        Args:
            shot: JSON values of everything that decides the result.

        Raises:
            InputError: there is a result whose run is not known.
            SettingsError: the run was started with other values; they are named.
            ResourceError: the folder cannot be written.
        """
        if not self.shot_file.exists():
            self._refuse_result()
        self._check_same(settle_json(self.shot_file, shot), shot)

    def _clear_drafts(self) -> None:
        """Remove what a killed run had begun to write under temporary names."""
        for folder in (self.path, self.objectid, *self.work.glob("**/")):
            for draft in folder.glob(".*.part"):
                draft.unlink(missing_ok=True)

    def _refuse_result(self) -> None:
        if self.report.exists() or self.objectid.exists():
            raise self._occupied()

    def _occupied(self) -> InputError:
        return InputError(
            f"{self.path} already holds a result. Give --resume to go on with it, --overwrite "
            "to replace it, or another folder."
        )

    def _check_same(self, before: dict[str, Any], shot: dict[str, Any]) -> None:
        now = json.loads(_text(shot))
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise SettingsError(
                    f"The run in {self.path} was started with {key} = "
                    f"{_short(before.get(key), now.get(key))}. Resume it with the same value, "
                    "or start anew with --overwrite."
                )

    def _remove(self) -> None:
        for folder in (self.work, self.objectid):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.report, self.sidecar, self.contact_sheet, self.overlay):
            file.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ResultError: absent, unreadable, or not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(
            f"Expected {path}, found no such file. Is this a result folder?"
        ) from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise ResultError(f"{path} must hold a JSON object, found {type(data).__name__}.")
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    """A JSON file, complete or not at all.

    Raises:
        ResourceError: it cannot be written.
    """
    save_atomically(path, _text(data))


def settle_json(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Write a JSON file unless it is there; of several writers, on any machine, one wins.

    Returns:
        What is there now.

    Raises:
        ResultError: what is there cannot be read.
        ResourceError: it cannot be written.
    """
    if not path.exists():
        own = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        write_json(own, data)
        try:
            os.link(own, path)  # fails where the name is taken; a rename would replace
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(own, path)
        own.unlink(missing_ok=True)
    return read_json(path)


def _text(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, default=str) + "\n").encode()


def _short(before: object, now: object) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return f"{{{key}: {before.get(key)!r}}}, now {{{key}: {now.get(key)!r}}}"
    return f"{str(before)[:80]!r}, now {str(now)[:80]!r}"
