"""SegmattePrompt: points and a box on keyframes as a prompt."""

from __future__ import annotations

from typing import Any

import nuke

_POINTS = [(f"positive{i}", f"usePositive{i}", True) for i in range(1, 5)] + [
    (f"negative{i}", f"useNegative{i}", False) for i in range(1, 5)
]


def set_key(node: Any) -> None:
    """Key everything ticked on the current frame."""
    frame = nuke.frame()
    for name, size in _ticked(node):
        knob = node[name]
        for index in range(size):
            value = knob.getValueAt(frame, index)
            knob.setAnimated(index)
            knob.setValueAt(value, frame, index)
    node["frame"].setValue(frame)


def remove_key(node: Any) -> None:
    """The current frame is no keyframe any more."""
    for name, size in _ticked(node):
        for index in range(size):
            node[name].removeKeyAt(nuke.frame(), index)


def keyframes(node: Any) -> list[int]:
    """Script frames of the prompt: all keys of what is ticked, else the frame knob."""
    times = {round(t) for name, _ in _ticked(node) for t in node[name].getKeyList()}
    return sorted(times) or [int(node["frame"].value())]


def prompt(node: Any, frame: int, *, height: int) -> dict[str, Any]:
    """Points and box on a frame, in plate pixels with the origin at the top left.

    Args:
        node: a SegmattePrompt.
        frame: script frame.
        height: of the plate's format, pixels.
    """
    result: dict[str, Any] = {}
    points = []
    for name, use, positive in _POINTS:
        if node[use].value():
            x, y = (node[name].getValueAt(frame, index) for index in (0, 1))
            points.append({"x": x, "y": height - y, "positive": positive})
    if points:
        result["points"] = points
    if node["useBox"].value():
        x, y, right, top = (node["box"].getValueAt(frame, index) for index in range(4))
        result["box"] = [min(x, right), height - max(y, top), max(x, right), height - min(y, top)]
    return result


def _ticked(node: Any) -> list[tuple[str, int]]:
    ticked = [(name, 2) for name, use, _ in _POINTS if node[use].value()]
    return ticked + ([("box", 4)] if node["useBox"].value() else [])
