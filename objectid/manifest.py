"""Which name belongs to which id: inside every file, and beside the shot.

A file holds the table twice: as JSON in the string attribute ``objectid/manifest``, which Nuke's
metadata can show and which is the truth, and as the standard id manifest for other tools. Both
name all objects of the shot, so that one frame is enough to compile a pick for all. The sidecar
``NAME.manifest.json`` says the same and everything else known about the objects.

Versions. ``version`` grows only when an older reader would be wrong; new keys do not make it grow.
A reader ignores keys it does not know, keeps them when it rewrites a file, and refuses a version
above its own with ``NewerVersionError``.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from objectid.errors import ManifestError, NewerVersionError, RequestError, StorageError
from objectid.header import Attribute, Header, read_header
from objectid.idmanifest import (
    ChannelGroup,
    IdManifestError,
    decode_id_manifest,
    encode_id_manifest,
)
from objectid.ids import LARGEST_ID, check_name, murmur3_32
from objectid.sequence import write_atomically

VERSION = 1
"""Version of the format that is written, and the highest that is read."""
MANIFEST_ATTRIBUTE = "objectid/manifest"
VERSION_ATTRIBUTE = "objectid/version"
ALPHA_ATTRIBUTE = "objectid/alpha"
ID_MANIFEST_ATTRIBUTE = "idManifest"

_Content = TypeVar("_Content")
_ID_CHANNELS = ("id", "Id", "objectid.id", "other.id", "objectid")
_LARGEST_JSON_BYTES = 1 << 28
_LARGEST_EXPANSION = 1032


@dataclass(frozen=True)
class Manifest:
    """The names of a shot's objects and their ids, as one file holds them."""

    ids: Mapping[str, int]
    """name → id of all objects of the shot."""
    frame: tuple[int, ...] | None = None
    """Ids that have a sample in this file, ascending; nothing where not known."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys this version does not know, kept."""

    def __post_init__(self) -> None:
        numbers: set[int] = set()
        for name, number in self.ids.items():
            if not name or not 1 <= number <= LARGEST_ID:
                raise ManifestError(
                    f"The manifest gives {name!r} the id {number}; expected a name and an id "
                    f"within 1..{LARGEST_ID}."
                )
            numbers.add(number)
        if len(numbers) != len(self.ids):
            raise ManifestError("The manifest gives two names the same id.")
        if self.frame is not None and not numbers.issuperset(self.frame):
            unknown = min(set(self.frame) - numbers)
            raise ManifestError(f"The manifest lists id {unknown} for this frame without a name.")

    @property
    def names(self) -> dict[int, str]:
        """Id → name."""
        return {number: name for name, number in self.ids.items()}

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that change when a name or an id does."""
        text = "\n".join(f"{number} {name}" for name, number in sorted(self.ids.items()))
        return f"{murmur3_32(text.encode('utf-8')):08x}"

    def to_json(self) -> str:
        """The text of the attribute ``objectid/manifest``."""
        content: dict[str, Any] = {"version": VERSION, "ids": dict(sorted(self.ids.items()))}
        if self.frame is not None:
            content["frame"] = list(self.frame)
        content.update((key, self.extra[key]) for key in self.extra if key not in content)
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """A manifest from the text of its attribute, or from a sidecar's.

        Raises:
            ManifestError: not JSON, or not of the expected form.
            NewerVersionError: of a later version.
        """
        content = _load(text)
        extra = {k: v for k, v in content.items() if k not in ("version", "ids", "frame")}
        frame = content.get("frame")
        if frame is not None and not _is_list_of_int(frame):
            raise ManifestError("The manifest's 'frame' is not a list of ids.")
        return cls(_ids(content), None if frame is None else tuple(sorted(set(frame))), extra)

    def with_frame(self, present: Iterable[int]) -> Manifest:
        """The same manifest for a file in which these ids have samples."""
        return replace(self, frame=tuple(sorted(set(present))))

    def attributes(self) -> dict[str, Attribute]:
        """The attributes that carry the manifest in an EXR header."""
        table = {number: (name,) for name, number in self.ids.items()}
        group = ChannelGroup(("id",), ("name",), table)
        return {
            VERSION_ATTRIBUTE: Attribute.of_int(VERSION),
            MANIFEST_ATTRIBUTE: Attribute.of_text(self.to_json()),
            ID_MANIFEST_ATTRIBUTE: Attribute("idmanifest", encode_id_manifest(group)),
        }


def read_manifest(path: str | Path) -> Manifest:
    """The manifest of an ObjectId file or of a sidecar; no pixel is read.

    Of an EXR file: our JSON, else the standard id manifest, else the names of an openexrid file.

    Args:
        path: an ``.exr`` or a ``.json`` file.

    Raises:
        ManifestError: there is none, or it cannot be read.
        NewerVersionError: it is of a later version.
        ObjectIdError: the file itself cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _located(path, lambda: Manifest.from_json(_read_text(path)))
    found = header_manifest(read_header(path))
    if found is None:
        raise ManifestError("Holds no manifest: neither ours nor the standard one.", path=path)
    return found


def header_manifest(header: Header) -> Manifest | None:
    """The manifest in an EXR header, or nothing where there is none.

    Raises:
        ManifestError: it is there but cannot be read.
        NewerVersionError: it is of a later version.
    """
    return _located(header.path, lambda: _header_manifest(header))


def _header_manifest(header: Header) -> Manifest | None:
    version = header.number(VERSION_ATTRIBUTE)
    if version is not None and version > VERSION:
        raise _newer(version)
    text = header.text(MANIFEST_ATTRIBUTE)
    if text is not None:
        return Manifest.from_json(text)
    standard = header.attributes.get(ID_MANIFEST_ATTRIBUTE)
    if standard is not None and standard.type == "idmanifest":
        return _standard(standard.payload)
    if "EXRIdNames" in header.attributes:
        return _openexrid(header.attributes["EXRIdNames"].payload)
    return None


def _standard(payload: bytes) -> Manifest:
    try:
        groups = decode_id_manifest(payload)
    except IdManifestError as error:
        raise ManifestError(f"The standard id manifest cannot be read: {error}.") from error
    ours = [group for group in groups if set(group.channels) & set(_ID_CHANNELS)]
    ids: dict[str, int] = {}
    for group in ours or groups[:1]:
        position = group.components.index("name") if "name" in group.components else 0
        for number, texts in group.table.items():
            if texts and texts[position] and 1 <= number <= LARGEST_ID:
                ids.setdefault(texts[position], number)
    return Manifest(ids)


def _openexrid(payload: bytes) -> Manifest:
    """Names of an openexrid file: the id is the place in a compressed list.

    Version 3 has it in base64, one name a line; version 2 as it is, with a NUL behind each name.
    In both the first name stands for nothing.
    """
    for data in _openexrid_data(payload):
        inflate = zlib.decompressobj()
        try:
            raw = inflate.decompress(data, min(_LARGEST_JSON_BYTES, _LARGEST_EXPANSION * len(data)))
        except zlib.error:
            continue
        text = raw.decode("utf-8", "backslashreplace")
        ids: dict[str, int] = {}
        for number, name in enumerate(text.split("\0" if "\0" in text else "\n")):
            if name and number:
                ids.setdefault(name, number)
        return Manifest(ids)
    raise ManifestError("The attribute 'EXRIdNames' cannot be read.")


def _openexrid_data(payload: bytes) -> Iterable[bytes]:
    yield payload
    try:
        yield base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return


@dataclass(frozen=True)
class ObjectRecord:
    """What the sidecar says about one object."""

    name: str
    id: int
    category: str = ""
    """The text category or group it was found as."""
    frames: tuple[tuple[int, int], ...] = ()
    """Runs of frames in which it has samples: first and last, both included."""
    score: float | None = None
    """How sure the detector was, 0..1; nothing for an artist's object."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys, kept."""

    @property
    def parent(self) -> str | None:
        """Name of the level above, if there is one."""
        above = self.name.rpartition("/")[0]
        return above or None


@dataclass(frozen=True)
class Sidecar:
    """Everything known about a shot's objects: the content of ``NAME.manifest.json``."""

    name: str
    """Name of the shot, as in the file names."""
    objects: tuple[ObjectRecord, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further sections, each an object or a list of JSON: ``prompts``, ``provenance``,
    ``rejected``, ``inheritance`` and what later versions add."""

    @property
    def ids(self) -> dict[str, int]:
        """Name → id of all objects."""
        return {record.name: record.id for record in self.objects}

    @property
    def manifest(self) -> Manifest:
        """The same table as every file of the shot holds."""
        return Manifest(self.ids)

    def to_json(self) -> str:
        """The text of the sidecar."""
        Manifest(self.ids)
        objects = []
        for record in sorted(self.objects, key=lambda item: item.name):
            entry: dict[str, Any] = {
                "name": record.name,
                "id": record.id,
                "parent": record.parent,
                "category": record.category,
                "frames": [list(run) for run in record.frames],
                "score": record.score,
            }
            entry.update((key, record.extra[key]) for key in record.extra if key not in entry)
            objects.append(entry)
        content: dict[str, Any] = {
            "version": VERSION,
            "name": self.name,
            "ids": dict(sorted(self.ids.items())),
            "objects": objects,
        }
        content.update((key, self.extra[key]) for key in self.extra if key not in content)
        try:
            return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise RequestError(f"A section of the sidecar is no JSON: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> Sidecar:
        """A sidecar from its text.

        Raises:
            ManifestError: not JSON, or not of the expected form.
            NewerVersionError: of a later version.
        """
        content = _load(text)
        ids = _ids(content)
        name = content.get("name", "")
        entries = content.get("objects", [])
        if not isinstance(name, str) or not isinstance(entries, list):
            raise ManifestError("The sidecar needs 'name', a text, and 'objects', a list.")
        records = {record.name: record for record in map(_record, entries)}
        if len(records) != len(entries) or any(ids.get(r.name) != r.id for r in records.values()):
            raise ManifestError("The sidecar's 'objects' contradict its 'ids'.")
        objects = (records.get(key) or ObjectRecord(key, number) for key, number in ids.items())
        known = ("version", "name", "ids", "objects")
        extra = {key: value for key, value in content.items() if key not in known}
        Manifest(ids)
        return cls(name, tuple(objects), extra)


def write_sidecar(path: str | Path, sidecar: Sidecar) -> None:
    """The sidecar as a file, complete or not at all.

    Args:
        path: ``NAME.manifest.json``.
        sidecar: its content; every name has to be one a writer may use.

    Raises:
        RequestError: a name is malformed, or a section is no JSON.
        ManifestError: two names have one id.
        StorageError: the file cannot be written.
    """
    for record in sidecar.objects:
        check_name(record.name)
    write_atomically(Path(path), [sidecar.to_json().encode("utf-8")])


def read_sidecar(path: str | Path) -> Sidecar:
    """The content of a sidecar file.

    Raises:
        ManifestError: not JSON, or not of the expected form.
        NewerVersionError: of a later version.
        StorageError: the file cannot be read.
    """
    path = Path(path)
    return _located(path, lambda: Sidecar.from_json(_read_text(path)))


def frame_runs(frames: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Frame numbers as runs of first and last, both included."""
    runs: list[tuple[int, int]] = []
    for frame in sorted(set(frames)):
        if runs and runs[-1][1] == frame - 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return tuple(runs)


def _record(entry: Any) -> ObjectRecord:
    if not isinstance(entry, dict):
        raise ManifestError("An entry of the sidecar's 'objects' is not an object.")
    name, number = entry.get("name"), entry.get("id")
    category, score = entry.get("category", ""), entry.get("score")
    runs = entry.get("frames", [])
    if (
        not isinstance(name, str)
        or type(number) is not int
        or not isinstance(category, str)
        or not (score is None or isinstance(score, (int, float)))
        or not isinstance(runs, list)
        or not all(_is_list_of_int(run) and len(run) == 2 for run in runs)
    ):
        raise ManifestError(f"Entry {name!r} of the sidecar's 'objects' is malformed.")
    known = ("name", "id", "parent", "category", "frames", "score")
    extra = {key: value for key, value in entry.items() if key not in known}
    frames = tuple((run[0], run[1]) for run in runs)
    return ObjectRecord(name, number, category, frames, score, extra)


def _load(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"The manifest is no valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ManifestError("The manifest is not a JSON object.")
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise ManifestError("The manifest has no 'version'.")
    if version > VERSION:
        raise _newer(version)
    return content


def _ids(content: Mapping[str, Any]) -> dict[str, int]:
    ids = content.get("ids")
    if not isinstance(ids, dict) or not _is_list_of_int(list(ids.values())):
        raise ManifestError("The manifest's 'ids' is not an object of names and numbers.")
    try:
        "".join(ids).encode("utf-8")
    except UnicodeEncodeError:
        raise ManifestError("A name in the manifest is not valid Unicode text.") from None
    return ids


def _is_list_of_int(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands in an object twice")
    return content


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _newer(version: float) -> NewerVersionError:
    return NewerVersionError(
        f"Was written by version {version:g} of the format; this reader knows {VERSION}. "
        "Update the reader."
    )


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_JSON_BYTES + 1)
    except OSError as error:
        raise StorageError(f"Cannot be read: {error.strerror or error}.", path=path) from error
    if len(data) > _LARGEST_JSON_BYTES:
        raise ManifestError(f"Has more than {_LARGEST_JSON_BYTES} bytes.", path=path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ManifestError("Is not UTF-8 text.", path=path) from None


def _located(path: Path | None, work: Callable[[], _Content]) -> _Content:
    """What the work returns; its errors get the path they do not know yet."""
    try:
        return work()
    except ManifestError as error:
        if error.path is not None or path is None:
            raise
        raise type(error)(error.reason, path=path) from error
