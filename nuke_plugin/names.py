"""The names of a shot as the nodes know them, and what a matte list makes of them.

Names are read from the EXR header or the sidecar with the standard library, not through Nuke's
metadata where a file can be found: asking for metadata while a script loads has damaged scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from objectid.errors import FilterError, ManifestError, ObjectIdError
from objectid.filter import compile_filter
from objectid.header import read_header
from objectid.manifest import (
    ALPHA_ATTRIBUTE,
    MANIFEST_ATTRIBUTE,
    Manifest,
    ObjectRecord,
    Sidecar,
    header_manifest,
    read_sidecar,
)
from objectid.sequence import find_result

LOST, UNCERTAIN = "lost", "uncertain"


@dataclass(frozen=True)
class ShotNames:
    """Everything the nodes know of a shot's objects."""

    ids: Mapping[str, int] = field(default_factory=dict)
    """name → id; empty when picking goes by number."""
    records: Mapping[str, ObjectRecord] = field(default_factory=dict)
    """name → what the sidecar says of it; empty without a sidecar."""
    fates: Mapping[str, str] = field(default_factory=dict)
    """name → ``inherited``, ``lost``, ``new`` or ``uncertain``, from the last version."""
    notice: str = ""
    """What the artist should know about the file; empty when all is well."""

    @property
    def fingerprint(self) -> str:
        """Changes when a name or an id does; empty without names."""
        return Manifest(self.ids).fingerprint if self.ids else ""

    @property
    def categories(self) -> list[str]:
        """The top levels of the tree of names, sorted."""
        return sorted({name.split("/")[1] for name in self.ids if name.count("/") > 1})

    def name(self, number: int) -> str:
        """The name of an id; empty when it has none."""
        return next((name for name, value in self.ids.items() if value == number), "")


@dataclass(frozen=True)
class Verdict:
    """What a matte list comes to."""

    ids: tuple[int, ...]
    message: str
    """One line for the node."""
    is_warning: bool


def embedded_names(path: Path) -> ShotNames:
    """Names from one EXR file; the sidecar, if it is beside it, adds what it knows.

    Args:
        path: a file of the sequence, or a pattern with ``####`` or ``%04d``; any existing frame
            will do, since each one names all objects of the shot.

    Raises:
        ObjectIdError: nothing is there, or it cannot be read.
    """
    result = find_result(path)
    file = path if path.is_file() else next(iter(result.frames.values()))
    header = read_header(file)
    manifest = header_manifest(header)
    if manifest is None:
        raise ManifestError(
            "Holds no names. Choose the sidecar, or pick by number, <123>.", path=file
        )
    notice = ""
    if header.text(ALPHA_ATTRIBUTE) == "coverage":
        notice = (
            "stored as plain coverage: soft edges between objects come out too thin. "
            "Convert it with 'segmatte objects'"
        )
    if result.sidecar is None:
        return ShotNames(manifest.ids, notice=notice)
    try:
        sidecar = read_sidecar(result.sidecar)
    except ObjectIdError:
        return ShotNames(manifest.ids, notice=notice)
    return ShotNames(manifest.ids, _records(sidecar), _fates(sidecar), notice)


def sidecar_names(path: Path) -> ShotNames:
    """Names from a sidecar.

    Args:
        path: the ``.manifest.json``, or a file or pattern of the sequence it lies beside.

    Raises:
        ObjectIdError: nothing is there, or it cannot be read.
    """
    found: Path | None = path
    if path.suffix.lower() != ".json":
        found = find_result(path).sidecar
    if found is None:
        raise ManifestError(
            "Has no .manifest.json beside it. Choose the file, or take the embedded names.",
            path=path,
        )
    sidecar = read_sidecar(found)
    return ShotNames(sidecar.ids, _records(sidecar), _fates(sidecar))


def metadata_names(metadata: Mapping[str, Any]) -> ShotNames:
    """Names from a node's metadata, where DeepRead puts header attributes under ``exr/``.

    Raises:
        ObjectIdError: they cannot be read.
    """
    text = metadata.get(f"exr/{MANIFEST_ATTRIBUTE}")
    if not isinstance(text, str):
        raise ManifestError(
            "The stream carries no names. Choose the sidecar, or pick by number, <123>."
        )
    return ShotNames(Manifest.from_json(text).ids)


def union(parts: Sequence[ShotNames]) -> ShotNames:
    """Names of several sequences merged into one stream; the first one wins."""
    ids: dict[str, int] = {}
    records: dict[str, ObjectRecord] = {}
    fates: dict[str, str] = {}
    for part in parts:
        taken = set(ids.values())
        for name, number in part.ids.items():
            if name not in ids and number not in taken:
                ids[name] = number
        records = {**part.records, **records}
        fates = {**part.fates, **fates}
    return ShotNames(ids, records, fates, next((p.notice for p in parts if p.notice), ""))


def judge(text: str, names: ShotNames) -> Verdict:
    """What a matte list picks, and what to tell the artist about it.

    Args:
        text: the matte list.
        names: the shot's.

    Raises:
        FilterError: the matte list cannot be read.
    """
    chosen = compile_filter(text)
    ids = tuple(n for n in chosen.select(names.ids) if n < 1 << 24)
    missing = [] if not names.ids else list(chosen.unmatched(names.ids))
    lost = [t.text for t in missing if names.fates.get(t.text) == LOST]
    unknown = [t.text for t in missing if names.fates.get(t.text) != LOST]
    picked_names = chosen.match(names.ids)
    unsure = [n for n in picked_names if names.fates.get(n) == UNCERTAIN]
    parts = []
    if lost:
        parts.append(f"{', '.join(lost)}: lost in this version")
    if unsure:
        parts.append(f"{', '.join(unsure)}: uncertain in this version, have a look")
    if unknown:
        parts.append(f"no object is called {', '.join(unknown)}")
    if names.notice:
        parts.append(names.notice)
    if parts:
        return Verdict(ids, ". ".join(parts), True)
    if not text.strip():
        return Verdict(ids, "nothing picked", False)
    count = "1 object" if len(ids) == 1 else f"{len(ids)} objects"
    return Verdict(ids, count, False)


def filter_problem(error: FilterError) -> str:
    """A filter error as one line for the node."""
    return error.reason.splitlines()[0]


def _records(sidecar: Sidecar) -> dict[str, ObjectRecord]:
    return {record.name: record for record in sidecar.objects}


def _fates(sidecar: Sidecar) -> dict[str, str]:
    table = sidecar.extra.get("inheritance", [])
    entries = table.get("names", []) if isinstance(table, dict) else table
    fates: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            fates[entry["name"]] = str(entry.get("fate", ""))
    return fates
