"""Results in the node graph: plain nodes, versions up in place, and where files go."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nuke

from nuke_plugin import names, picker
from nuke_plugin.plate import Plate
from nuke_plugin.settings import Settings
from objectid.errors import ObjectIdError

_VERSION = re.compile(r"v(\d+)")
_COPIED = ("frame_mode", "frame", "first", "last")


@dataclass(frozen=True)
class Inherited:
    """What became of a shot's names from one version to the next."""

    kept: tuple[str, ...]
    lost: tuple[str, ...]
    new: tuple[str, ...]
    uncertain: tuple[str, ...]

    def text(self) -> str:
        """For the artist, one line for each that has something to say."""
        parts = [f"{len(self.kept)} names kept"]
        for title, listed in (
            ("new", self.new),
            ("lost", self.lost),
            ("uncertain", self.uncertain),
        ):
            if listed:
                parts.append(f"{title}: {', '.join(listed)}")
        return "\n".join(parts)


def output_folder(
    settings: Settings, plate_name: str, script: str, *, used: Iterable[str] = ()
) -> Path:
    """A folder for a new result, made now so that its version is never used again.

    Args:
        settings: with the template.
        plate_name: ``plate.####.exr``.
        script: path of the Nuke script; empty when it was never saved.
        used: folders of earlier results, which may be gone from the disk.

    Raises:
        OSError: it cannot be made.
        ValueError: the template has an unknown placeholder.
    """
    known = {
        "script_dir": str(Path(script).parent) if script else str(Path.home()),
        "script": Path(script).stem if script else "unsaved",
        "plate": plain_name(plate_name),
        "user": getpass.getuser(),
    }
    template = settings.output_template
    if "{version" not in template:
        template = template.rstrip("/") + "/v{version:03d}"
    try:
        first = Path(settings.mapped(template.format(version=1, **known)))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"The output template {settings.output_template!r} cannot be filled in: {error}. "
            f"Use {{version}} and {', '.join('{' + name + '}' for name in known)}."
        ) from None
    stem = _VERSION.sub("v*", first.name)
    older = [path for path in map(Path, map(settings.mapped, used)) if path.match(stem)]
    there = [path for path in older if path.parent == first.parent]
    if first.parent.is_dir():
        there += first.parent.glob(stem)
    taken = [0]
    for path in there:
        found = _VERSION.search(path.name)
        if found:
            taken.append(int(found.group(1)))
    for version in range(max(taken) + 1, max(taken) + 1000):
        folder = Path(settings.mapped(template.format(version=version, **known)))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue  # somebody else took it meanwhile
        return folder
    raise OSError(f"No free version below {first.parent}.")


def plain_name(plate_name: str) -> str:
    """The name results have: without frame number and suffix."""
    stem = re.sub(r"[._-]?(#+|@+|%0?\d*d)", "", plate_name).rsplit(".", 1)[0]
    return stem or "plate"


def create(folder: Path, plate: Plate, *, source: Any = None) -> Any:
    """DeepRead, picker and backdrop for a result, finished or still being made.

    Args:
        folder: the result's folder.
        plate: what was submitted.
        source: the node it was made from; the picker's plate input and the place in the graph.

    Returns:
        The picker.
    """
    for other in nuke.selectedNodes():
        other.setSelected(False)
    name = plain_name(plate.name)
    read = nuke.createNode("DeepRead", inpanel=False)
    read["file"].setValue(f"{str(folder).replace(chr(92), '/')}/objectid/{name}.%04d.exr")
    is_direct = bool(plate.path) and source is not None and source.Class() == "Read"
    if is_direct:
        for knob in _COPIED:
            read[knob].setValue(source[knob].value())
    else:
        read["first"].setValue(plate.first)
        read["last"].setValue(plate.last)
    for knob in ("first", "last"):
        read[f"orig{knob}"].setValue(read[knob].value())
    for knob in ("before", "after"):
        read[knob].setValue("black")
    read["on_error"].setValue("black")  # frames appear from the end of the shot
    read.setName("SegmatteRead1")
    node = nuke.createNode(picker.PICKER, inpanel=False)
    node.setInput(0, read)
    if source is not None:
        node.setInput(1, source)
        read.setXYpos(source.xpos() + 220, source.ypos() - 120)
        node.setXYpos(source.xpos() + 220, source.ypos())
    _backdrop([read, node], f"Segmatte {name} {folder.name}")
    return node


def show_new_frames(node: Any) -> None:
    """Have the picker's DeepReads look at the disk again."""
    for read in _reads(node):
        read["reload"].execute()


def refresh(node: Any) -> None:
    """Show frames that have appeared and names that have changed."""
    show_new_frames(node)
    picker.reload(node)


def version_up(node: Any, folder: Path) -> Inherited:
    """Point a picker at another version of its shot, in place.

    Args:
        node: the picker.
        folder: of the other version.

    Returns:
        What became of the names.

    Raises:
        ValueError: the picker reads no sequence.
    """
    reads = _reads(node)
    if not reads:
        raise ValueError(f"{node.name()} reads no sequence. Connect a DeepRead to its input deep.")
    before = _ids(node)
    read = reads[0]
    name = Path(str(read["file"].value())).name
    read["file"].setValue(f"{str(folder).replace(chr(92), '/')}/objectid/{name}")
    read["reload"].execute()
    picker.reload(node)
    after = picker.shot_names(node)
    fates = after.fates
    uncertain = tuple(sorted(n for n, fate in fates.items() if fate == names.UNCERTAIN))
    kept = set(before) & set(after.ids)
    return Inherited(
        kept=tuple(sorted(kept - set(uncertain))),
        lost=tuple(sorted(set(before) - set(after.ids))),
        new=tuple(sorted(set(after.ids) - set(before))),
        uncertain=uncertain,
    )


def _ids(node: Any) -> dict[str, int]:
    try:
        return dict(picker.shot_names(node).ids)
    except ObjectIdError:
        return {}


def _reads(node: Any) -> list[Any]:
    found, waiting, seen = [], [node.input(0)], set()
    while waiting:
        current = waiting.pop(0)
        if current is None or current.fullName() in seen:
            continue
        seen.add(current.fullName())
        if current.Class() == "DeepRead":
            found.append(current)
        else:
            waiting += [current.input(i) for i in range(current.inputs())]
    return found


def _backdrop(nodes: Sequence[Any], label: str) -> None:
    left = min(n.xpos() for n in nodes) - 40
    top = min(n.ypos() for n in nodes) - 80
    right = max(n.xpos() + n.screenWidth() for n in nodes) + 40
    bottom = max(n.ypos() + n.screenHeight() for n in nodes) + 40
    nuke.nodes.BackdropNode(
        label=label,
        tile_color=0x2C3A42FF,
        note_font_size=22,
        xpos=left,
        ypos=top,
        bdwidth=right - left,
        bdheight=bottom - top,
    )
