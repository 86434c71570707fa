"""The buttons and eyedroppers of ObjectIdPicker and ObjectIdMultiMatte.

Both nodes are plain Groups that render without this module. It runs when an artist picks, edits
the matte list, reloads, or opens or saves a script in the interface: it turns the matte list, the
truth, into the text of the DeepExpressions inside, and says on the node what came of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nuke

from nuke_plugin import deep, expression, names, selection
from objectid.errors import FilterError, ObjectIdError

PICKER, MULTI_MATTE = "ObjectIdPicker", "ObjectIdMultiMatte"
COLOUR_FINE, COLOUR_WARNING = 0x3F6B7DFF, 0xB0702AFF
MOST_MATTES = 8
"""Channels of a layer in Nuke, and so mattes of one ObjectIdMultiMatte."""
HALVED = (
    "the ids were written at 16 bit and are lost. Write the deep file at 32 bit, or read the "
    "sequence Segmatte delivered"
)
_PICKS = ("pickerAdd", "pickerRemove")
_COMPILED_BY = ("matteList", "manifestSource", "sidecarFilepath", "idChannel")


def on_knob_changed() -> None:
    """The Group's ``knobChanged``: only called while its panel is open."""
    node, knob = nuke.thisNode(), nuke.thisKnob()
    name = knob.name()
    if name == "inputChange" and node.screenHeight() == 0:
        return  # the script is still loading: asking the stream now may damage it
    if name in _PICKS:
        _pick(node, knob, adds=name == "pickerAdd")
    elif name == "category":
        _add_category(node, knob)
    elif name in _COMPILED_BY or name == "inputChange" or name.startswith("matteList"):
        recompile(node)


def clear(node: Any) -> None:
    """Empty the matte list."""
    node["matteList"].setValue("")
    recompile(node)


def reload(node: Any) -> None:
    """Read the names again, find the id channel, compile, and look whether the ids are whole."""
    source = node.input(0)
    if source is not None:
        channel = deep.id_channel(source.channels(), node["idChannel"].value())
        if channel:
            node["idChannel"].setValue(channel)
    shot = recompile(node)
    if "category" in node.knobs():
        node["category"].setValues(["choose", *shot.categories])
        node["category"].setValue(0)
    if source is not None and _is_halved(source, node["idChannel"].value()):
        _show(node, HALVED, is_warning=True)


def recompile(node: Any) -> names.ShotNames:
    """Compile the matte list into the nodes inside; what they had stays if that is not possible.

    Returns:
        The names it was compiled against.
    """
    try:
        shot = shot_names(node)
    except ObjectIdError as error:
        _show(node, str(error).replace("\n", " "), is_warning=True)
        return names.ShotNames()
    lists = _matte_lists(node)
    messages, is_warning = [], False
    for knob_name, branches in lists.items():
        text = node[knob_name].value()
        try:
            verdict = names.judge(text, shot)
        except FilterError as error:
            messages.append(names.filter_problem(error))
            is_warning = True
            continue
        for inner_name, make in branches:
            inner = node.node(inner_name)
            for key, value in make(verdict.ids, node["idChannel"].value()).items():
                inner[key].setValue(value)
        if text.strip() or knob_name == "matteList":
            messages.append(verdict.message)
        is_warning = is_warning or verdict.is_warning
    if not is_warning:
        node["compiledList"].setValue("\n".join(node[name].value() for name in lists))
        node["manifestFingerprint"].setValue(shot.fingerprint)
    _show(node, "; ".join(messages), is_warning=is_warning)
    return shot


def recompile_all() -> None:
    """After loading and before saving a script: bring every node up to what is on disk."""
    for node in find_nodes():
        try:
            is_current = _is_current(node)
        except ObjectIdError:
            is_current = False
        if not is_current:
            recompile(node)


def find_nodes() -> list[Any]:
    """All pickers and multi-mattes of the script, in groups too."""
    return [
        node
        for node in nuke.allNodes("Group", recurseGroups=True)
        if "segmatteNode" in node.knobs() and node["segmatteNode"].value() in (PICKER, MULTI_MATTE)
    ]


def shot_names(node: Any) -> names.ShotNames:
    """The names a picker works with, from where its ``manifestSource`` says.

    Raises:
        ObjectIdError: they are not there or cannot be read.
    """
    source = node["manifestSource"].value()
    if source == "none":
        return names.ShotNames()
    if source == "sidecar":
        chosen = node["sidecarFilepath"].evaluate() or ""
        paths = [Path(chosen)] if chosen else upstream_paths(node)
        return names.union([names.sidecar_names(path) for path in paths])
    paths = upstream_paths(node)
    if paths:
        return names.union([names.embedded_names(path) for path in paths])
    stream = node.input(0)
    if stream is None:
        return names.ShotNames()
    return names.metadata_names(stream.metadata() or {})


def upstream_paths(node: Any) -> list[Path]:
    """Files of the DeepReads a node's deep input comes from, each once; input 0 first."""
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [node.input(0)]
    while waiting:
        current = waiting.pop(0)
        if current is None or current.fullName() in seen:
            continue
        seen.add(current.fullName())
        if current.Class() == "DeepRead":
            path = _file_of(current)
            if path is not None and path not in found:
                found.append(path)
        else:
            waiting += [current.input(i) for i in range(current.inputs())]
    return found


def show_objects(node: Any) -> None:
    """Open the list of all objects with check boxes."""
    from nuke_plugin import object_list

    object_list.show(node)


def name_channels(node: Any) -> None:
    """Create the layer of an ObjectIdMultiMatte and write its mattes there."""
    layer = _slug(node["layer"].value()) or "mattes"
    wanted = [
        _slug(node[f"channel{index}"].value()) or f"m{index}" for index in range(1, MOST_MATTES + 1)
    ]
    doubled = sorted({name for name in wanted if wanted.count(name) > 1})
    if doubled:
        _show(node, f"two mattes are called {doubled[0]}: give each its own name", is_warning=True)
        return
    channels = [f"{layer}.{name}" for name in wanted]
    nuke.Layer(layer, channels)
    node["layer"].setValue(layer)
    for index, channel in enumerate(channels):
        node[f"channel{index + 1}"].setValue(wanted[index])
        inner, slot = divmod(index, 3)
        node.node(f"embed{inner + 1}")[f"to{slot}"].setValue(channel)
    recompile(node)


def set_list(node: Any, text: str) -> None:
    """Replace the matte list, from the list of objects."""
    node["matteList"].setValue(text)
    recompile(node)


# Picks


def _pick(node: Any, knob: Any, *, adds: bool) -> None:
    # Eight values: the colour, then the box x y r t. The corner is the place, also of an area.
    x, y = (int(value) for value in knob.getValue()[4:6])
    stream = node.input(0)
    if stream is None:
        _show(node, "connect an ObjectId sequence to input deep", is_warning=True)
        return
    channel = deep.id_channel(stream.channels(), node["idChannel"].value())
    try:
        pixel = deep.objects_of(deep.samples_at(stream, x, y, channel=channel or "other.id"))
        shot = shot_names(node)
    except (ValueError, ObjectIdError) as error:
        _show(node, str(error).replace("\n", " "), is_warning=True)
        return
    unknown = [n for n in pixel.ids if shot.ids and not shot.name(n)]
    if pixel.damaged or any(deep.looks_halved(n) for n in unknown):
        _show(node, HALVED, is_warning=True)
        return
    text = node["matteList"].value()
    try:
        picked = names.judge(text, shot).ids
        wanted = next((n for n in pixel.ids if (n in picked) != adds), None)
        if wanted is None:
            _show(node, "nothing more to pick there", is_warning=False)
            return
        if adds:
            start = "" if node["singleSelection"].value() else text
            text = selection.add(start, wanted, shot.ids)
        else:
            text = selection.remove(text, wanted, shot.ids)
    except FilterError as error:
        _show(node, names.filter_problem(error), is_warning=True)
        return
    node["matteList"].setValue(text)
    recompile(node)
    if wanted in unknown:
        _show(
            node,
            f"id {wanted} has no name here: the names belong to another version of the file. "
            "Press Reload",
            is_warning=True,
        )


def _add_category(node: Any, knob: Any) -> None:
    index = int(knob.getValue())
    if index < 1:
        return
    text = node["matteList"].value()
    added = f"/{knob.values()[index]}"
    node["matteList"].setValue(f"{text}, {added}" if text.strip() else added)
    knob.setValue(0)
    recompile(node)


def _is_halved(stream: Any, channel: str) -> bool:
    """Whether some pixel of a coarse grid holds what cannot be an id."""
    box = stream.bbox()
    for row in range(1, 8):
        for column in range(1, 8):
            x, y = box.x() + box.w() * column // 8, box.y() + box.h() * row // 8
            try:
                samples = deep.samples_at(stream, int(x), int(y), channel=channel)
            except ValueError:
                return False
            if deep.objects_of(samples).damaged:
                return True
    return False


# Nodes inside

_Make = Callable[[Iterable[int], str], "dict[str, str]"]


def _matte_lists(node: Any) -> dict[str, list[tuple[str, _Make]]]:
    """Knob with a matte list → the inner nodes it is compiled into."""

    def matte(ids: Iterable[int], channel: str) -> dict[str, str]:
        return expression.filter_knobs(ids, channel=channel)

    def preview(ids: Iterable[int], channel: str) -> dict[str, str]:
        return expression.preview_knobs(ids, channel=channel)

    if node["segmatteNode"].value() == PICKER:
        return {"matteList": [("filter", matte), ("previewFilter", preview)]}
    result: dict[str, list[tuple[str, _Make]]] = {}
    for index in range(1, MOST_MATTES + 1):
        result[f"matteList{index}"] = [_branch(index)]
    return result


def _branch(index: int) -> tuple[str, _Make]:
    inner, slot = divmod(index - 1, 3)
    colour = ("red", "green", "blue")[slot]

    def make(ids: Iterable[int], channel: str) -> dict[str, str]:
        return {f"rgba.{colour}": expression.matte_knob(ids, channel=channel)}

    return f"filter{inner + 1}", make


def _slug(text: str) -> str:
    """Letters, digits and ``_``, as Nuke wants layer and channel names."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", text.strip()).strip("_").lstrip("0123456789")


def _is_current(node: Any) -> bool:
    lists = "\n".join(node[name].value() for name in _matte_lists(node))
    return bool(
        node["compiledList"].value() == lists
        and node["manifestFingerprint"].value() == shot_names(node).fingerprint
    )


def _show(node: Any, message: str, *, is_warning: bool) -> None:
    node["status"].setValue(message)
    node["tile_color"].setValue(COLOUR_WARNING if is_warning else COLOUR_FINE)


def _file_of(read: Any) -> Path | None:
    now = read["file"].evaluate(nuke.frame())
    if now and Path(now).is_file():
        return Path(now)
    pattern = read["file"].value()
    return Path(pattern) if pattern else None
