"""A small Nuke: runs the node graphs we ship on deep samples, in numpy.

Only what the shipped gizmos use, each node by its documented meaning: DeepExpression works sample
by sample, DeepToImage composites front to back with over, a disabled node passes its input 0.
Channels are float32 as in Nuke.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.nuke.nk import NkNode, words

Floats = NDArray[np.float32]
COLOURS = ("rgba.red", "rgba.green", "rgba.blue", "rgba.alpha")
SHORT = {"r": "rgba.red", "g": "rgba.green", "b": "rgba.blue", "a": "rgba.alpha"}
SHORT |= {"red": "rgba.red", "green": "rgba.green", "blue": "rgba.blue", "alpha": "rgba.alpha"}


@dataclass(frozen=True)
class Deep:
    """Samples of an image, pixel-major."""

    size: tuple[int, int]
    """(H, W)."""
    pixel: NDArray[np.int64]
    """(S,) row · W + column of each sample."""
    channels: Mapping[str, Floats]
    """Full channel name → (S,) float32."""

    def with_(self, changes: Mapping[str, Floats]) -> Deep:
        return Deep(self.size, self.pixel, {**self.channels, **changes})


@dataclass(frozen=True)
class Image:
    """A flat image."""

    size: tuple[int, int]
    channels: Mapping[str, Floats]
    """Full channel name → (H, W) float32; what is missing reads as 0."""

    def channel(self, name: str) -> Floats:
        return self.channels.get(name, np.zeros(self.size, np.float32))

    def with_(self, changes: Mapping[str, Floats]) -> Image:
        return Image(self.size, {**self.channels, **changes})


Value = Deep | Image | None


# The expression language: ?:, ||, &&, comparisons, + - * /, ! and unary minus, parentheses

_TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)|([A-Za-z_]\w*(?:\.\w+)*)"
    r"|(\|\||&&|[=!<>]=|[-+*/<>!?:()]))"
)
_BINARY: list[dict[str, Callable[[Floats, Floats], Floats]]] = [
    {"||": lambda a, b: ((a != 0) | (b != 0)).astype(np.float32)},
    {"&&": lambda a, b: ((a != 0) & (b != 0)).astype(np.float32)},
    {
        "==": lambda a, b: (a == b).astype(np.float32),
        "!=": lambda a, b: (a != b).astype(np.float32),
    },
    {
        "<": lambda a, b: (a < b).astype(np.float32),
        "<=": lambda a, b: (a <= b).astype(np.float32),
        ">": lambda a, b: (a > b).astype(np.float32),
        ">=": lambda a, b: (a >= b).astype(np.float32),
    },
    {"+": lambda a, b: a + b, "-": lambda a, b: a - b},
    {"*": lambda a, b: a * b, "/": lambda a, b: a / b},
]


class ExpressionError(Exception):
    """The text is no expression of the subset, or names what does not exist."""


class _Parser:
    def __init__(self, text: str, names: Callable[[str], Floats]) -> None:
        self._names = names
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                raise ExpressionError(f"cannot read {text[position : position + 20]!r}")
            kind = "number" if found[1] else "name" if found[2] else "sign"
            self._tokens.append((kind, found[1] or found[2] or found[3]))
            position = found.end()

    def value(self) -> Floats:
        result = self._choice()
        if self._tokens:
            raise ExpressionError(f"left over: {self._tokens[0][1]!r}")
        return result

    def _take(self, *signs: str) -> str | None:
        if self._tokens and self._tokens[0][0] == "sign" and self._tokens[0][1] in signs:
            return self._tokens.pop(0)[1]
        return None

    def _choice(self) -> Floats:
        condition = self._binary(0)
        if self._take("?") is None:
            return condition
        yes = self._choice()
        if self._take(":") is None:
            raise ExpressionError("'?' without ':'")
        no = self._choice()
        return np.where(condition != 0, yes, no).astype(np.float32)

    def _binary(self, level: int) -> Floats:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while (sign := self._take(*_BINARY[level])) is not None:
            left = _BINARY[level][sign](left, self._binary(level + 1))
        return left

    def _unary(self) -> Floats:
        if self._take("!"):
            return (self._unary() == 0).astype(np.float32)
        if self._take("-"):
            return -self._unary()
        if self._take("("):
            inside = self._choice()
            if self._take(")") is None:
                raise ExpressionError("parenthesis is not closed")
            return inside
        if not self._tokens or self._tokens[0][0] == "sign":
            raise ExpressionError("a value is missing")
        kind, text = self._tokens.pop(0)
        return np.float32(text) if kind == "number" else self._names(text)  # type: ignore[return-value]


def evaluate(text: str, names: Callable[[str], Floats]) -> Floats:
    """The value of an expression; booleans are 0 and 1."""
    return _Parser(text, names).value()


# Nodes


def channel_set(text: str) -> set[str]:
    """The channels of a ChannelMask: a layer name, or a list with ``-`` and ``none``."""
    layers = {"rgb": COLOURS[:3], "rgba": COLOURS, "alpha": COLOURS[3:], "none": ()}
    result: set[str] = set()
    for word in text.split():
        if word.startswith("-"):
            continue
        result |= set(layers.get(word, (word,)))
    return result


def deep_expression(node: NkNode, stream: Deep) -> Deep:
    """Sample by sample; writes only channels that a ``chans`` knob names and the stream has."""
    temporaries: dict[str, Floats] = {}

    def name(text: str) -> Floats:
        if text in temporaries:
            return temporaries[text]
        full = SHORT.get(text, text)
        if full not in stream.channels:
            raise ExpressionError(f"the stream has no channel {full}")
        return stream.channels[full]

    for index in range(4):
        if f"temp_name{index}" in node.knobs:
            temporaries[node.knobs[f"temp_name{index}"].text] = evaluate(
                node.knobs[f"temp_expr{index}"].text, name
            )
    writable: set[str] = set()
    for index, default in enumerate(("rgba", "deep", "none", "none")):
        knob = node.knobs.get(f"chans{index}")
        writable |= channel_set(knob.text if knob else default)
    changes = {}
    for channel in sorted(writable & stream.channels.keys()):
        if channel in node.knobs:
            value = evaluate(node.knobs[channel].text, name)
            changes[channel] = np.broadcast_to(value, stream.pixel.shape).astype(np.float32)
    return stream.with_(changes)


def deep_to_image(stream: Deep) -> Image:
    """Front to back with over, every channel."""
    order = np.lexsort((stream.channels["deep.front"], stream.pixel))
    pixel = stream.pixel[order]
    first = np.searchsorted(pixel, np.arange(stream.size[0] * stream.size[1]))
    rank = np.arange(pixel.size) - first[pixel]
    remaining = np.ones(stream.size[0] * stream.size[1], np.float32)
    names = [n for n in stream.channels if n not in ("deep.front", "deep.back")]
    out = {name: np.zeros(remaining.size, np.float32) for name in names}
    for step in range(int(rank.max(initial=-1)) + 1):
        here = order[rank == step]
        where = stream.pixel[here]
        for name in names:
            out[name][where] += stream.channels[name][here] * remaining[where]
        remaining[where] *= 1 - stream.channels["rgba.alpha"][here]
    return Image(stream.size, {n: v.reshape(stream.size) for n, v in out.items()})


class Graph:
    """A Group, with values of its knobs and inputs."""

    def __init__(
        self,
        group: NkNode,
        *,
        inputs: Mapping[int, Value],
        knobs: Mapping[str, float] | None = None,
        inner: Mapping[str, Mapping[str, str]] | None = None,
        gui: bool = True,
    ) -> None:
        """Prepare to run.

        Args:
            group: the parsed Group.
            inputs: input number → image; a missing one is not connected.
            knobs: values of the Group's own knobs, over those in the file.
            inner: inner node's name → its knob values, over those in the file.
            gui: whether this Nuke has an interface.
        """
        self._group = group
        self._inputs = inputs
        self._knobs = {knob.name: 0.0 for knob in group.user_knobs}
        for name, word in group.knobs.items():
            if re.fullmatch(r"-?\d+(\.\d+)?", word.text):
                self._knobs[name] = float(word.text)
        self._knobs |= dict(knobs or {})
        self._inner = inner or {}
        self._gui = gui
        self._done: dict[str, Value] = {}

    def output(self) -> Value:
        return self._value(next(n for n in self._group.children if n.class_name == "Output"))

    def knob(self, text: str, size: tuple[int, int] | None = None) -> float:
        """The value of a knob's text, with links to the parent resolved."""
        text = text.strip()
        while text.startswith("{") and text.endswith("}"):
            text = text[1:-1].strip()
        text = words(text)[0].text if text.startswith('"') else text
        text = re.sub(
            r"\[exists parent\.input(\d)\]",
            lambda m: str(int(self._inputs.get(int(m[1])) is not None)),
            text,
        )
        text = text.replace("$gui", str(int(self._gui)))

        def name(full: str) -> Floats:
            if full in ("input.width", "input.height") and size:
                return np.float32(size[full == "input.width"])  # type: ignore[return-value]
            head, _, rest = full.partition(".")
            if head != "parent" or rest not in self._knobs:
                raise ExpressionError(f"no knob {full}")
            return np.float32(self._knobs[rest])  # type: ignore[return-value]

        return float({"true": 1, "false": 0}.get(text, None) or evaluate(text, name))

    def _value(self, node: NkNode | None) -> Value:
        if node is None:
            return None
        if node.name not in self._done:
            if node.name in self._inner:
                node = _changed(node, self._inner[node.name])
            self._done[node.name] = self._run(node)
        return self._done[node.name]

    def _run(self, node: NkNode) -> Value:
        if node.class_name == "Input":
            number = node.knobs.get("number")
            return self._inputs.get(int(number.text) if number else 0)
        if "disable" in node.knobs and self.knob(node.knobs["disable"].text):
            return self._value(node.inputs[0])
        if node.class_name == "Switch":
            return self._value(node.inputs[int(self.knob(node.knobs["which"].text))])
        values = [self._value(source) for source in node.inputs]
        return _NODES[node.class_name](self, node, values)


def _changed(node: NkNode, knobs: Mapping[str, str]) -> NkNode:
    from tests.nuke.nk import Word

    return NkNode(
        node.class_name, node.knobs | {k: Word(v) for k, v in knobs.items()}, [], node.inputs, []
    )


def _image(value: Value) -> Image:
    assert isinstance(value, Image), f"expected a flat image, found {type(value).__name__}"
    return value


def _deep(value: Value) -> Deep:
    assert isinstance(value, Deep), f"expected a deep image, found {type(value).__name__}"
    return value


def _text(node: NkNode, knob: str, default: str) -> str:
    return node.knobs[knob].text if knob in node.knobs else default


def _shuffle(graph: Graph, node: NkNode, values: list[Value]) -> Value:
    image = _image(values[0])
    source = {"black": np.float32(0), "white": np.float32(1)}
    changes = {}
    target = _text(node, "out", "rgba")
    slots = ("red", "green", "blue", "alpha")
    names = COLOURS if target == "rgba" else tuple(f"{target}.{s}" for s in slots)
    for slot, name in zip(slots, names, strict=True):
        wanted = _text(node, slot, slot)
        value = source[wanted] if wanted in source else image.channel(f"rgba.{wanted}")
        if target == "rgba" or wanted != "black":
            changes[name] = np.broadcast_to(value, image.size).astype(np.float32)
    return image.with_(changes)


def _merge(graph: Graph, node: NkNode, values: list[Value]) -> Value:
    below, above = _image(values[0]), _image(values[1])
    operation = _text(node, "operation", "over")
    changes = {}
    for name in channel_set(_text(node, "output", "rgba")):
        a, b, alpha = above.channel(name), below.channel(name), above.channel("rgba.alpha")
        changes[name] = {"mask": b * alpha, "over": a + b * (1 - alpha), "plus": a + b}[operation]
    return below.with_(changes)


def _copy(graph: Graph, node: NkNode, values: list[Value]) -> Value:
    image, source = _image(values[0]), _image(values[1])
    changes = {
        node.knobs[f"to{i}"].text: source.channel(node.knobs[f"from{i}"].text)
        for i in range(4)
        if f"from{i}" in node.knobs
    }
    return image.with_(changes)


def _remove(graph: Graph, node: NkNode, values: list[Value]) -> Value:
    image = _image(values[0])
    named = channel_set(_text(node, "channels", "all"))
    keep = _text(node, "operation", "remove") == "keep"
    return Image(image.size, {n: v for n, v in image.channels.items() if (n in named) == keep})


def _invert(graph: Graph, node: NkNode, values: list[Value]) -> Value:
    image = _image(values[0])
    return image.with_({n: 1 - image.channel(n) for n in channel_set(_text(node, "channels", ""))})


def _deep_from_image(graph: Graph, node: NkNode, values: list[Value]) -> Value:
    image = _image(values[0])
    pixel = np.flatnonzero(image.channel("rgba.alpha").ravel())
    depth = np.full(pixel.size, graph.knob(_text(node, "z", "0")), np.float32)
    channels = {n: v.ravel()[pixel] for n, v in image.channels.items()}
    return Deep(image.size, pixel, {**channels, "deep.front": depth, "deep.back": depth})


_NODES: dict[str, Callable[[Graph, NkNode, list[Value]], Value]] = {
    "DeepExpression": lambda g, n, v: deep_expression(n, _deep(v[0])),
    "DeepToImage": lambda g, n, v: deep_to_image(_deep(v[0])),
    "DeepFromImage": _deep_from_image,
    "Shuffle": _shuffle,
    "Merge2": _merge,
    "Copy": _copy,
    "Remove": _remove,
    "Invert": _invert,
    "Crop": lambda g, n, v: v[0],
    "Dot": lambda g, n, v: v[0],
    "Output": lambda g, n, v: v[0],
}
