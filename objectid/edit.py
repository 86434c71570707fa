"""Change the objects of a finished sequence without rendering it again.

Frames are decoded to coverages, changed, and encoded again. A change never touches the sequence
before all its new files are complete: they are written beside it, then put in place one by one,
and a journal lets the next call finish what a crash interrupted. The files that were replaced stay
in a hidden folder until the next change, so that ``undo`` can put them back.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from objectid.errors import ManifestError, RequestError, StorageError
from objectid.filter import Filter
from objectid.frame import (
    Crop,
    DeepFrame,
    FrameFile,
    decode_coverages,
    encode_coverages,
    read_frame,
    tidied,
    write_frame,
)
from objectid.header import read_header
from objectid.ids import check_name, object_ids
from objectid.manifest import (
    Manifest,
    ObjectRecord,
    Sidecar,
    frame_runs,
    header_manifest,
    read_sidecar,
    write_sidecar,
)
from objectid.sequence import (
    Report,
    Result,
    find_result,
    ignore_progress,
    over_frames,
    write_atomically,
)

Priority = Literal["first", "last", "share"]
SameName = Literal["refuse", "merge", "number"]


@dataclass(frozen=True)
class Change:
    """What becomes of a shot's objects."""

    ids: Mapping[str, int]
    """The new table, name → id."""
    becomes: Mapping[int, int]
    """Old id → new id, 0 = gone, for every id that does not stay."""
    renamed: Mapping[str, str]
    """Old name → new name, for every name that does not stay."""
    deleted: tuple[str, ...] = ()


# --- what becomes of the objects ---------------------------------------------------------------


def rename(ids: Mapping[str, int], old: str, new: str) -> Change:
    """An object, and everything below it, under another name.

    A renamed object gets the id of its new name, so that equal names keep equal ids.

    Raises:
        RequestError: there is no such object, or the new name is taken or malformed.
    """
    return _moved(ids, _below(ids, old, check_name(new)))


def move(ids: Mapping[str, int], wanted: Filter, parent: str) -> Change:
    """Some objects, each with its last level, below another parent.

    Args:
        ids: name → id.
        wanted: which objects.
        parent: the name above, ``/crowd``; ``/`` is the top.

    Raises:
        RequestError: the filter finds nothing, or a name is taken or malformed.
    """
    above = "" if parent == "/" else check_name(parent)
    names = _found(ids, wanted)
    tops = [name for name in names if not any(_is_below(name, other) for other in names)]
    renamed: dict[str, str] = {}
    for top in tops:
        if above == top or _is_below(above, top):
            raise RequestError(f"{top!r} cannot be moved below itself.")
        renamed.update(_below(ids, top, f"{above}/{top.rpartition('/')[2]}"))
    return _moved(ids, renamed)


def merge(ids: Mapping[str, int], wanted: Filter, into: str) -> Change:
    """Some objects as one; their coverages add up.

    Args:
        ids: name → id.
        wanted: which objects.
        into: the name of what they become, one of them, another object, or a new name.

    Raises:
        RequestError: the filter finds nothing, or the name is malformed.
    """
    names = _found(ids, wanted)
    rest = [name for name in ids if name not in names or name == into]
    table = object_ids([*rest, into] if into not in rest else rest, _without(ids, names, into))
    becomes = {ids[name]: table[into] for name in names if ids[name] != table[into]}
    return Change(table, becomes, {name: into for name in names if name != into})


def delete(ids: Mapping[str, int], wanted: Filter) -> Change:
    """The shot without some objects; where they were there is nothing.

    Raises:
        RequestError: the filter finds nothing.
    """
    names = _found(ids, wanted)
    table = {name: number for name, number in ids.items() if name not in names}
    return Change(table, {ids[name]: 0 for name in names}, {}, tuple(sorted(names)))


def _moved(ids: Mapping[str, int], renamed: Mapping[str, str]) -> Change:
    rest = {name: number for name, number in ids.items() if name not in renamed}
    for old, new in renamed.items():
        if new in rest:
            raise RequestError(f"{old!r} cannot become {new!r}: that name is taken; merge them.")
    if len(set(renamed.values())) != len(renamed):
        raise RequestError("Two objects would get the same name; merge them.")
    table = object_ids([*rest, *renamed.values()], rest)
    becomes = {ids[old]: table[new] for old, new in renamed.items() if ids[old] != table[new]}
    return Change(table, becomes, {old: new for old, new in renamed.items() if old != new})


def _below(ids: Mapping[str, int], old: str, new: str) -> dict[str, str]:
    names = [name for name in ids if name == old or _is_below(name, old)]
    if not names:
        raise RequestError(f"There is no object {old!r}. {_known(ids)}")
    return {name: check_name(new + name[len(old) :]) for name in names}


def _is_below(name: str, parent: str) -> bool:
    return name.startswith(parent + "/")


def _found(ids: Mapping[str, int], wanted: Filter) -> list[str]:
    names = wanted.match(ids)
    if not names:
        raise RequestError(f"The filter '{wanted.text}' finds no object. {_known(ids)}")
    return names


def _without(ids: Mapping[str, int], names: Sequence[str], kept: str) -> dict[str, int]:
    return {name: number for name, number in ids.items() if name not in names or name == kept}


def _known(ids: Mapping[str, int]) -> str:
    names = sorted(ids)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"There are {', '.join(names[:5])}{more}." if names else "The shot has no objects."


# --- a sequence, changed in place --------------------------------------------------------------


def shot_ids(result: Result) -> dict[str, int]:
    """Name → id of all objects of a sequence: what any of its files says.

    Raises:
        ManifestError: two files contradict each other.
        ObjectIdError: a file cannot be read.
    """
    ids: dict[str, int] = {}
    names: dict[int, str] = {}
    for path in result.frames.values():
        manifest = header_manifest(read_header(path)) or Manifest({})
        for name, number in manifest.ids.items():
            if ids.setdefault(name, number) != number or names.setdefault(number, name) != name:
                raise ManifestError(
                    f"Says {name!r} is {number}; another frame of the sequence says otherwise. "
                    "Render the frames that are older than the rest again.",
                    path=path,
                )
    return ids


def apply_change(
    result: Result,
    plan: Callable[[Mapping[str, int]], Change],
    *,
    command: str,
    lenient: bool = False,
    processes: int = 1,
    report: Report = ignore_progress,
) -> Change:
    """Change a sequence and its sidecar in place.

    Args:
        result: the sequence; it stays as it is until all new files are complete.
        plan: makes the change from name → id.
        command: what the sidecar's ``history`` says about it.
        lenient: as in ``read_frame``.
        processes: how many frames are worked on at a time.
        report: told about every frame.

    Returns:
        What was done.

    Raises:
        RequestError: the plan cannot be carried out.
        ObjectIdError: a file cannot be read or written; the sequence is as it was.
    """
    store = _Store(result)
    store.finish()
    change = plan(shot_ids(result))
    with store.staging() as folder:
        work = partial(_rewrite, folder=folder, change=change, lenient=lenient)
        for _ in over_frames(
            work, result.frames, stage="objects", processes=processes, report=report
        ):
            pass
        staged = {path: path.name for path in result.frames.values()}
        if result.sidecar is not None:
            sidecar = _changed_sidecar(read_sidecar(result.sidecar), change, command)
            write_sidecar(folder / result.sidecar.name, sidecar)
            staged[result.sidecar] = result.sidecar.name
        store.commit(folder, staged)
    return change


def undo(result: Result) -> int:
    """Put the files back that the last change replaced; a second undo redoes it.

    Returns:
        How many files were put back.

    Raises:
        RequestError: there is nothing to undo.
        StorageError: a file cannot be written.
    """
    store = _Store(result)
    store.finish()
    return store.swap_back()


def _rewrite(frame: int, path: Path, *, folder: Path, change: Change, lenient: bool) -> None:
    file = read_frame(path, lenient=lenient)
    pixels = file.frame
    if any(number in change.becomes for number in pixels.present):
        pixels = _changed(pixels, change.becomes)
    manifest = replace(file.manifest, ids=dict(change.ids), frame=None)
    write_frame(folder / path.name, tidied(pixels), manifest=manifest, attributes=file.attributes)


def _changed(frame: DeepFrame, becomes: Mapping[int, int]) -> DeepFrame:
    crops: dict[int, Crop] = {}
    for number, crop in decode_coverages(frame):
        new = becomes.get(number, number)
        if new:
            crops[new] = _added(crops[new], crop) if new in crops else crop
    return encode_coverages(
        list(crops.values()),
        ids=list(crops),
        display_window=frame.display_window,
        pixel_aspect=frame.pixel_aspect,
        alpha_mode=frame.alpha_mode,
        smallest_coverage=0.0,
    ).frame


def _added(one: Crop, other: Crop) -> Crop:
    top, left = min(one.y0, other.y0), min(one.x0, other.x0)
    bottom = max(crop.y0 + crop.coverage.shape[0] for crop in (one, other))
    right = max(crop.x0 + crop.coverage.shape[1] for crop in (one, other))
    total = np.zeros((bottom - top, right - left), np.float32)
    for crop in (one, other):
        height, width = crop.coverage.shape
        y, x = crop.y0 - top, crop.x0 - left
        total[y : y + height, x : x + width] += crop.coverage
    return Crop(top, left, np.minimum(total, 1))


def _changed_sidecar(sidecar: Sidecar, change: Change, command: str) -> Sidecar:
    records: dict[str, ObjectRecord] = {}
    for record in sorted(sidecar.objects, key=lambda r: r.name in change.renamed):
        name = change.renamed.get(record.name, record.name)
        if name not in change.ids:
            continue
        moved = replace(record, name=name, id=change.ids[name])
        records[name] = _joined(records[name], moved) if name in records else moved
    history = sidecar.extra.get("history", [])
    entry = {"command": command, "deleted": list(change.deleted), "renamed": dict(change.renamed)}
    extra = {
        **sidecar.extra,
        "history": [*history, entry] if isinstance(history, list) else [entry],
    }
    return replace(sidecar, objects=tuple(records.values()), extra=extra)


def _joined(one: ObjectRecord, other: ObjectRecord) -> ObjectRecord:
    frames = [f for first, last in (*one.frames, *other.frames) for f in range(first, last + 1)]
    scores = [score for score in (one.score, other.score) if score is not None]
    return replace(one, frames=frame_runs(frames), score=max(scores) if scores else None)


class _Store:
    """The folder of a sequence, its files under change, and those that were replaced."""

    def __init__(self, result: Result) -> None:
        folders = [path.parent for path in result.frames.values()]
        self._root = folders[0]
        name = result.name or "sequence"
        self._staging = self._root / f".{name}.change"
        self._previous = self._root / f".{name}.previous"

    def staging(self) -> _Folder:
        """A folder for the new files."""
        return _Folder(self._staging)

    def commit(self, folder: Path, staged: Mapping[Path, str]) -> None:
        """Put complete files in place of the old ones, which are kept."""
        journal = [[os.path.relpath(target, self._root), name] for target, name in staged.items()]
        write_atomically(
            folder / _JOURNAL, [json.dumps(journal, ensure_ascii=False).encode("utf-8")]
        )
        self.finish()

    def finish(self) -> None:
        """Carry on with a change that was complete but not yet in place."""
        journal = self._staging / _JOURNAL
        try:
            if not journal.is_file():
                return
            entries = json.loads(journal.read_text(encoding="utf-8"))
            kept = self._staging / "old"
            kept.mkdir(exist_ok=True)
            for place, name in entries:
                target, new, old = self._root / place, self._staging / name, kept / name
                if new.exists():
                    if target.exists() and not old.exists():
                        _keep(target, old)
                    new.replace(target)
            write_atomically(kept / _JOURNAL, [journal.read_bytes()])
            if self._previous.exists():
                shutil.rmtree(self._previous)
            journal.unlink()
            kept.rename(self._previous)
            shutil.rmtree(self._staging)
        except (OSError, ValueError) as error:
            raise StorageError(
                f"A change could not be put in place: {error}. The next change or undo goes on "
                "with it.",
                path=self._staging,
            ) from error

    def swap_back(self) -> int:
        """Make the files that were replaced the new ones; how many."""
        journal = self._previous / _JOURNAL
        if not journal.is_file():
            raise RequestError("There is no change to undo.", path=self._root)
        try:
            entries = json.loads(journal.read_text(encoding="utf-8"))
            if self._staging.exists():
                shutil.rmtree(self._staging)
            shutil.copytree(self._previous, self._staging, copy_function=_keep)
        except (OSError, ValueError) as error:
            raise StorageError(f"Cannot be put back: {error}.", path=self._previous) from error
        self.finish()
        return len(entries)


_JOURNAL = "journal.json"


class _Folder:
    """A folder that is made on entry and removed when the work in it failed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        try:
            if self._path.exists():
                shutil.rmtree(self._path)
            self._path.mkdir(parents=True)
        except OSError as error:
            raise StorageError(f"Cannot be made: {error}.", path=self._path) from error
        return self._path

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None and not (self._path / _JOURNAL).exists():
            shutil.rmtree(self._path, ignore_errors=True)


def _keep(source: str | Path, target: str | Path) -> None:
    """A second name for a file, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


# --- two results as one ------------------------------------------------------------------------


def combine(
    results: Sequence[Result],
    output: Path,
    *,
    name: str = "",
    priority: Priority = "first",
    same_name: SameName = "refuse",
    lenient: bool = False,
    processes: int = 1,
    report: Report = ignore_progress,
) -> Result:
    """Several results of one shot as a new one.

    Args:
        results: at least two; frames that only some have are taken from those.
        output: a folder that does not exist or is empty.
        name: name of the new result; the first one's without it.
        priority: where coverages add up to more than 1: ``first`` lets earlier results take
            theirs and later ones what is left, ``last`` the other way round, ``share`` divides
            by the sum.
        same_name: what happens to a name that two results have: ``refuse``, ``merge`` into one
            object, or give the later one the next free ``number``.
        lenient: as in ``read_frame``.
        processes: how many frames are worked on at a time.
        report: told about every frame.

    Returns:
        The new result.

    Raises:
        RequestError: the results do not fit together, or the folder is in use.
        ObjectIdError: a file cannot be read or written; nothing appears under the output's name.
    """
    if len(results) < 2:
        raise RequestError("Combining needs at least two results.")
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RequestError("The folder is not empty; name a new one.", path=output)
    tables = [shot_ids(result) for result in results]
    renamed = _distinct_names(tables, same_name)
    ids = _combined_ids(tables, renamed)
    becomes = [
        {number: ids[names.get(old, old)] for old, number in table.items()}
        for table, names in zip(tables, renamed)
    ]
    title = name or results[0].name
    frames = sorted({frame for result in results for frame in result.frames})
    files = {frame: output / "objectid" / _file_name(title, frame) for frame in frames}
    staging = output.with_name(f".{output.name}.combine")
    with _Folder(staging) as folder:
        work = partial(
            _combine_frame,
            folder=folder / "objectid",
            sources=[dict(result.frames) for result in results],
            becomes=becomes,
            ids=ids,
            priority=priority,
            lenient=lenient,
        )
        for _ in over_frames(work, files, stage="combine", processes=processes, report=report):
            pass
        sidecar = _combined_sidecar(title, results, renamed, ids)
        write_sidecar(folder / f"{title}.manifest.json", sidecar)
        try:
            with suppress(FileNotFoundError):
                output.rmdir()
            folder.rename(output)
        except OSError as error:
            raise StorageError(f"Cannot be put in place: {error}.", path=output) from error
    return find_result(output)


def _file_name(title: str, frame: int) -> str:
    return f"{title}.{frame:0{4 + (frame < 0)}d}.exr"


def _distinct_names(
    tables: Sequence[Mapping[str, int]], same_name: SameName
) -> list[dict[str, str]]:
    """Per result: old name → new name, for the names that change."""
    taken: set[str] = set()
    everything = {name for table in tables for name in table}
    renamed: list[dict[str, str]] = []
    for table in tables:
        own: dict[str, str] = {}
        for name in sorted(table):
            if name in taken and same_name == "refuse":
                raise RequestError(
                    f"Two results have an object {name!r}. Choose 'merge' if it is the same one, "
                    "'number' if it is another."
                )
            if name in taken and same_name == "number":
                own[name] = _next_name(name, everything)
                everything.add(own[name])
        taken.update(own.get(name, name) for name in table)
        renamed.append(own)
    return renamed


def _next_name(name: str, taken: set[str]) -> str:
    match = re.fullmatch(r"(.*?_)(\d+)", name)
    stem, number, digits = (match[1], int(match[2]), len(match[2])) if match else (f"{name}_", 1, 2)
    while f"{stem}{number:0{digits}d}" in taken:
        number += 1
    return f"{stem}{number:0{digits}d}"


def _combined_ids(
    tables: Sequence[Mapping[str, int]], renamed: Sequence[Mapping[str, str]]
) -> dict[str, int]:
    """New table; every result keeps its ids as far as no earlier one has them."""
    kept: dict[str, int] = {}
    names: set[str] = set()
    for table, changes in zip(tables, renamed):
        for name, number in table.items():
            new = changes.get(name, name)
            names.add(new)
            if new == name and new not in kept and number not in kept.values():
                kept[new] = number
    return object_ids(names, kept)


def _combine_frame(
    frame: int,
    path: Path,
    *,
    folder: Path,
    sources: Sequence[Mapping[int, Path]],
    becomes: Sequence[Mapping[int, int]],
    ids: Mapping[str, int],
    priority: Priority,
    lenient: bool,
) -> None:
    found: list[tuple[FrameFile, Mapping[int, int]]] = [
        (read_frame(source[frame], lenient=lenient), table)
        for source, table in zip(sources, becomes)
        if frame in source
    ]
    first = found[0][0].frame
    for file, _ in found[1:]:
        if (file.frame.display_window, file.frame.pixel_aspect) != (
            first.display_window,
            first.pixel_aspect,
        ):
            raise RequestError(
                f"Frame {frame}: display window {tuple(file.frame.display_window)} does not fit "
                f"{tuple(first.display_window)}; combine results of one plate."
            )
    if priority == "last":
        found = found[::-1]
    groups = [[(t[n], crop) for n, crop in decode_coverages(f.frame) if n in t] for f, t in found]
    if priority != "share":
        groups = _what_is_left(groups)
    crops: dict[int, Crop] = {}
    for number, crop in (pair for group in groups for pair in group):
        crops[number] = _added(crops[number], crop) if number in crops else crop
    encoded = encode_coverages(
        list(crops.values()),
        ids=list(crops),
        display_window=first.display_window,
        pixel_aspect=first.pixel_aspect,
        smallest_coverage=0.0,
    )
    texts = {key: value for file, _ in found[::-1] for key, value in file.attributes.items()}
    write_frame(folder / path.name, encoded.frame, manifest=ids, attributes=texts)


def _what_is_left(
    groups: Sequence[Sequence[tuple[int, Crop]]],
) -> list[list[tuple[int, Crop]]]:
    """Coverages scaled so that each group only takes what those before it have left."""
    crops = [crop for group in groups for _, crop in group]
    if not crops:
        return [list(group) for group in groups]
    top, left = min(crop.y0 for crop in crops), min(crop.x0 for crop in crops)
    bottom = max(crop.y0 + crop.coverage.shape[0] for crop in crops)
    right = max(crop.x0 + crop.coverage.shape[1] for crop in crops)
    free = np.ones((bottom - top, right - left), np.float32)
    out = []
    for group in groups:
        total = np.zeros_like(free)
        for _, crop in group:
            total[_area(crop, top, left)] += crop.coverage
        factor = np.divide(free, total, out=np.ones_like(free), where=total > free)
        out.append(
            [
                (number, crop._replace(coverage=crop.coverage * factor[_area(crop, top, left)]))
                for number, crop in group
            ]
        )
        free = np.maximum(free - np.minimum(total, free), 0)
    return out


def _area(crop: Crop, top: int, left: int) -> tuple[slice, slice]:
    y, x = crop.y0 - top, crop.x0 - left
    height, width = crop.coverage.shape
    return slice(y, y + height), slice(x, x + width)


def _combined_sidecar(
    title: str,
    results: Sequence[Result],
    renamed: Sequence[Mapping[str, str]],
    ids: Mapping[str, int],
) -> Sidecar:
    records: dict[str, ObjectRecord] = {}
    sources = []
    for result, changes in zip(results, renamed):
        extra: Mapping[str, object] = {}
        objects: Sequence[ObjectRecord] = ()
        if result.sidecar is not None:
            sidecar = read_sidecar(result.sidecar)
            extra, objects = sidecar.extra, sidecar.objects
        sources.append({"name": result.name, "renamed": dict(changes), **extra})
        for record in objects:
            name = changes.get(record.name, record.name)
            if name in ids:
                moved = replace(record, name=name, id=ids[name])
                records[name] = _joined(records[name], moved) if name in records else moved
    for name, number in ids.items():
        records.setdefault(name, ObjectRecord(name, number))
    return Sidecar(title, tuple(records.values()), {"sources": sources})
