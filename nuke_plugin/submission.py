"""From what the panel shows to the shot that is sent.

Prompts keep script frames and their nodes until the moment of submitting; then they become plate
pixels on the result's own frame numbers.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nuke_plugin import plate as plates
from nuke_plugin import prompt_node, roto
from nuke_plugin.plate import Plate, PlateProblem

ROTO_CLASSES = ("Roto", "RotoPaint")
OUTPUTS = ("objectid", "cryptomatte", "masks")


@dataclass(frozen=True)
class PromptItem:
    """One object asked for by a node."""

    name: str
    """In the tree of names."""
    kind: str
    """``roto``, ``points`` or ``alpha``."""
    node: Any
    keyframes: tuple[int, ...]
    """Script frames, all there are."""
    chosen: tuple[int, ...]
    """Script frames to send."""
    notices: tuple[str, ...] = ()
    shapes: Any = None
    """The ``RotoObject``."""

    def choosing(self, frames: Collection[int]) -> PromptItem:
        """With other keyframes ticked."""
        return replace(self, chosen=tuple(f for f in self.keyframes if f in set(frames)))


@dataclass(frozen=True)
class Choices:
    """What an artist set in the panel."""

    text: str = ""
    first: int = 1
    """Script frame."""
    last: int = 1
    items: tuple[PromptItem, ...] = ()
    colorspace: str = ""
    view: str = "main"
    look: str = ""
    """How the viewer writes a display and view of the config; empty: the server's default."""
    exposure_stops: float = 0.0
    detector: str = ""
    segmenter: str = ""
    outputs: tuple[str, ...] = ("objectid",)
    priority: int = 0
    reference_job: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def prompts_of(node: Any, *, per_shape: bool = False, frame: int = 1) -> list[PromptItem]:
    """The objects a Roto, RotoPaint or SegmattePrompt node asks for.

    Raises:
        PlateProblem: the node is none of these.
    """
    if node.Class() in ROTO_CLASSES:
        return [
            PromptItem(i.name, "roto", node, i.keyframes, i.keyframes, i.notices, i)
            for i in roto.read(node, per_shape=per_shape, frame=frame)
        ]
    if "segmatteNode" in node.knobs() and node["segmatteNode"].value() == "SegmattePrompt":
        frames = tuple(prompt_node.keyframes(node))
        name = object_name(node["objectName"].value() or node.name())
        return [PromptItem(name, "points", node, frames, frames)]
    raise PlateProblem(
        f"{node.name()} is a {node.Class()}. Select Roto, RotoPaint or SegmattePrompt nodes, or "
        "add its alpha on this frame."
    )


def alpha_prompt(node: Any, frame: int) -> PromptItem:
    """A node's alpha on a frame as a prompt."""
    return PromptItem(object_name(node.name()), "alpha", node, (frame,), (frame,))


def object_name(text: str) -> str:
    """A text as a place in the tree of names."""
    parts = [part.strip() for part in text.split("/")]
    return "/" + "/".join(part for part in parts if part)


def notices_of(items: Sequence[PromptItem]) -> list[str]:
    """What to tell before submitting, as sentences."""
    told = [notice for item in items for notice in item.notices]
    for item in items:
        if len(item.chosen) > roto.MANY_KEYFRAMES:
            told.append(
                f"{item.name} sends {len(item.chosen)} keyframes. Each one is a prompt of its own; "
                f"more than {roto.MANY_KEYFRAMES} are rarely better. Untick those that are only "
                "in-betweens."
            )
    return told


def build(
    node: Any, plate: Plate, choices: Choices, folder: Path, *, frames: Sequence[int] | None = None
) -> dict[str, Any]:
    """Render what has to be rendered and describe the shot for the bridge.

    Args:
        node: the plate's node.
        plate: how it is submitted.
        choices: of the panel.
        folder: for rendered pictures and masks; kept until the bridge has read them.
        frames: script frames to render instead of the range, for a preview.

    Raises:
        PlateProblem: something cannot be rendered, or there is nothing to ask for.
        RenderCancelled: the artist stopped it.
    """
    if choices.first > choices.last:
        raise PlateProblem(
            f"The range {choices.first}-{choices.last} is empty. The first frame comes first."
        )
    wanted = list(frames) if frames is not None else list(range(choices.first, choices.last + 1))
    objects = _objects(plate, choices, folder)
    if not choices.text.strip() and not objects:
        raise PlateProblem("Nothing is asked for. Type a prompt such as person, or add a node.")
    source: dict[str, Any] = {"name": plate.name}
    if plate.path:
        source["path"] = plate.path
    else:
        source["format"] = [plate.width, plate.height, plate.pixel_aspect]
        source["frames"] = [
            {"frame": plate.file_frame(frame), "path": str(path)}
            for frame, path in plates.render(
                node, wanted, folder, view=choices.view, exposure_stops=choices.exposure_stops
            )
        ]
    options: dict[str, Any] = {}
    if plate.path:  # a rendered plate is seen as it is
        display, view = plates.display_and_view(choices.look)
        options = {
            "colorspace": choices.colorspace or plate.colorspace,
            "exposure": choices.exposure_stops,
            "display": display,
            "view": view,
        }
    return {
        "request_id": str(uuid.uuid4()),
        "plate": source,
        "range": [plate.file_frame(wanted[0]), plate.file_frame(wanted[-1])],
        "options": options,
        "text": choices.text.strip(),
        "objects": objects,
        "settings": {"detector": choices.detector, "segmenter": choices.segmenter},
        "outputs": list(choices.outputs),
        "priority": choices.priority,
        "reference_job": choices.reference_job,
        "labels": dict(choices.labels),
    }


def _objects(plate: Plate, choices: Choices, folder: Path) -> list[dict[str, Any]]:
    result: dict[str, dict[int, dict[str, Any]]] = {}
    for item in choices.items:
        for frame in item.chosen:
            if not choices.first <= frame <= choices.last:
                continue
            keyframe = _keyframe(item, frame, plate, choices, folder)
            if keyframe:
                number = plate.file_frame(frame)
                result.setdefault(item.name, {})[number] = {"frame": number, **keyframe}
    return [
        {"name": name, "keyframes": [keyframes[frame] for frame in sorted(keyframes)]}
        for name, keyframes in result.items()
    ]


def _keyframe(
    item: PromptItem, frame: int, plate: Plate, choices: Choices, folder: Path
) -> dict[str, Any]:
    if item.kind == "points":
        return prompt_node.prompt(item.node, frame, height=plate.height)
    if item.kind == "alpha":
        ((_, path),) = plates.render_alpha(item.node, [frame], folder, view=choices.view)
        return {"mask": {"path": str(path), "channel": "A"}}
    outlines, _ = roto.polygons(
        item.shapes, frame, width=plate.width, height=plate.height, view=choices.view
    )
    return {"polygons": [outline.as_data() for outline in outlines]} if outlines else {}
