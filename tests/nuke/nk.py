"""A reader of ``.nk`` and ``.gizmo`` text: words, knobs and the node stack, as Nuke's TCL has them.

Written beside ``nkparser`` because the tests need what it does not give: unescaped knob values and
the connections that ``set``, ``push`` and ``inputs`` make. Input 0 of a node is the top of the
stack (reference: stack language as in released gizmos).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


class NkError(Exception):
    """The text is not well formed; says where."""


@dataclass(frozen=True)
class Word:
    """One TCL word."""

    text: str
    """Without its quotes or braces, escapes resolved in quoted and bare words."""
    braced: bool = False


@dataclass(eq=False)
class NkNode:
    """A node of a script."""

    class_name: str
    knobs: dict[str, Word] = field(default_factory=dict)
    user_knobs: list[UserKnob] = field(default_factory=list)
    inputs: list[NkNode | None] = field(default_factory=list)
    children: list[NkNode] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.knobs["name"].text if "name" in self.knobs else self.class_name


@dataclass(frozen=True)
class UserKnob:
    """An ``addUserKnob`` line."""

    type_number: int
    name: str
    options: dict[str, str]
    flags: tuple[str, ...]


@dataclass
class NkScript:
    """A whole file."""

    nodes: list[NkNode]
    version: str = ""
    layers: list[str] = field(default_factory=list)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def words(text: str) -> list[Word]:
    """Split text into TCL words, over line ends."""
    return [word for line in commands(text) for word in line]


def commands(text: str) -> list[list[Word]]:
    """Split text into TCL commands (lines outside of braces and quotes) of words."""
    result: list[list[Word]] = []
    line: list[Word] = []
    position = 0
    while position < len(text):
        sign = text[position]
        if sign in "\n;":
            if line:
                result.append(line)
            line = []
            position += 1
        elif sign in " \t\r":
            position += 1
        elif sign == "#" and not line:
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        elif sign == "{":
            end = _closing(text, position)
            line.append(Word(text[position + 1 : end], braced=True))
            position = end + 1
        elif sign == '"':
            value, position = _escaped(text, position + 1, '"')
            line.append(Word(value))
        elif sign == "[":
            end = text.index("]", position)
            line.append(Word(text[position : end + 1]))
            position = end + 1
        elif sign == "}":
            raise NkError(f"closing brace without an opening one at {_place(text, position)}")
        else:
            value, position = _escaped(text, position, " \t\r\n;")
            line.append(Word(value))
    if line:
        result.append(line)
    return result


def _place(text: str, position: int) -> str:
    return f"line {text.count(chr(10), 0, position) + 1}"


def _closing(text: str, start: int) -> int:
    depth, position = 0, start
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise NkError(f"brace at {_place(text, start)} is not closed")


def _escaped(text: str, position: int, ends: str) -> tuple[str, int]:
    out: list[str] = []
    quoted = ends == '"'
    start = position
    while position < len(text) and text[position] not in ends:
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
            out.append(_ESCAPES.get(text[position], text[position]))
        elif quoted and text[position] in "[$":
            raise NkError(
                f"{text[position]!r} in quotes is not escaped at {_place(text, position)}"
            )
        else:
            out.append(text[position])
        position += 1
    if quoted:
        if position == len(text):
            raise NkError(f"quote at {_place(text, start)} is not closed")
        position += 1
    return "".join(out), position


def user_knob(spec: str) -> UserKnob:
    """Parse what stands in the braces of ``addUserKnob {…}``."""
    parts = words(spec)
    options: dict[str, str] = {}
    flags: list[str] = []
    index = 2
    while index < len(parts):
        key = parts[index].text
        if key[0] in "+-" and not parts[index].braced:
            flags.append(key)
            index += 1
        elif key == "R":
            options["R"] = f"{parts[index + 1].text} {parts[index + 2].text}"
            index += 3
        else:
            options[key] = parts[index + 1].text
            index += 2
    name = parts[1].text if len(parts) > 1 else ""
    return UserKnob(int(parts[0].text), name, options, tuple(flags))


def parse(text: str) -> NkScript:
    """Read a script with its connections.

    Raises:
        NkError: the text is not well formed.
    """
    script = NkScript([])
    lines = commands(text)
    scopes: list[tuple[list[NkNode], list[NkNode | None]]] = [(script.nodes, [])]
    names: dict[str, NkNode | None] = {}
    for line in lines:
        head = line[0].text
        nodes, stack = scopes[-1]
        if head == "version":
            script.version = " ".join(word.text for word in line[1:])
        elif head == "add_layer":
            script.layers.append(line[1].text)
        elif head == "set":
            place = int(line[2].text.strip("[]").split()[1])
            names[line[1].text] = stack[-1 - place] if len(stack) > place else None
        elif head == "push":
            name = line[1].text
            stack.append(None if name == "0" else names[name.lstrip("$")])
        elif head == "end_group":
            if len(scopes) == 1:
                raise NkError("end_group without a Group")
            scopes.pop()
        elif len(line) == 2 and line[1].braced:
            node = _node(head, line[1].text)
            count = sum(int(n) for n in node.knobs.pop("inputs", Word("1")).text.split("+"))
            node.inputs = [stack.pop() if stack else None for _ in range(count)]
            stack.append(node)
            nodes.append(node)
            if head in ("Group", "Gizmo"):
                scopes.append((node.children, []))
        else:
            raise NkError(f"cannot read the line that begins with {head!r}")
    if len(scopes) != 1:
        raise NkError("a Group is not closed with end_group")
    return script


def _node(class_name: str, body: str) -> NkNode:
    node = NkNode(class_name)
    for line in commands(body):
        if line[0].text == "addUserKnob":
            node.user_knobs.append(user_knob(line[1].text))
        elif len(line) == 2:
            node.knobs[line[0].text] = line[1]
        else:
            raise NkError(f"knob {line[0].text!r} of {class_name} has {len(line) - 1} values")
    return node


def load(path: Path) -> NkScript:
    """Read a file."""
    return parse(path.read_text(encoding="utf-8"))
