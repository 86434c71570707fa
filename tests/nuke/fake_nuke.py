"""A Nuke with state, for tests of the code that runs inside Nuke.

It knows nodes, knobs, callbacks and threads as far as the plug-in uses them. Where the real
behaviour is disputed or surprising, the fake takes the side that is documented or was measured in
a real Nuke; each such place names its source:

* "scan": generated dump of all knobs of Nuke 17.0v3; a class or knob it does not list is an error.
* "guide": the Python developer guide; "probe": values printed by a real Nuke 17.1v1;
  "crypto": the public Cryptomatte gizmo; "code": other public plug-ins.

What the fake does not prove: that the real Nuke agrees. ``nuke_plugin/selftest.py`` asks it.
"""

from __future__ import annotations

import json
import re
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.nuke import fake_roto, nk

HERE = Path(__file__).parent
KNOB_TABLE: dict[str, Any] = json.loads((HERE / "nuke_knobs.json").read_text())
EXTRA_CLASSES: dict[str, list[str]] = {
    # Not in the scan's extract; source: released gizmos and Foundry's own scripts.
    "Remove": ["operation", "channels"],
    "BackdropNode": ["bdwidth", "bdheight", "z_order", "appearance", "border_width"],
    "Root": ["proxy", "name", "project_directory", "first_frame", "last_frame", "format",
             "colorManagement", "OCIO_config", "customOCIOConfigPath", "frame", "fps"],
}  # fmt: skip
COMMON_KNOBS = [
    # Every node has them; the scan lists only what a class adds.
    "name", "xpos", "ypos", "label", "tile_color", "note_font", "note_font_size", "selected",
    "hide_input", "disable", "help", "knobChanged", "onCreate", "icon",
]  # fmt: skip
BY_USER_TYPE = {
    1: "String_Knob", 2: "File_Knob", 3: "Int_Knob", 4: "Enumeration_Knob", 6: "Boolean_Knob",
    7: "Double_Knob", 11: "Channel_Knob", 12: "XY_Knob", 15: "BBox_Knob", 20: "Tab_Knob",
    22: "PyScript_Knob", 26: "Text_Knob", 36: "Eyedropper_Knob", 41: "Link_Knob",
}  # fmt: skip
ENUMERATIONS = {
    "frame_mode": ["expression", "start at", "offset"],
    "before": ["hold", "loop", "bounce", "black"],
    "after": ["hold", "loop", "bounce", "black"],
    "on_error": ["error", "black", "checkerboard", "nearest frame"],
    "file_type": ["", "exr", "png", "jpeg", "tiff"],
    "colorspace": ["default", "linear", "sRGB", "rec709", "Output - sRGB"],
    "colorManagement": ["Nuke", "OCIO"],
    "viewerProcess": ["sRGB", "rec709", "None"],
}
FORMAT_KNOBS = {"png": ["datatype"], "exr": ["datatype", "compression"], "jpeg": ["_jpeg_quality"]}
"""Knobs of a Write that exist only after ``file_type`` is set."""


class Format:
    def __init__(self, width: int, height: int, pixel_aspect: float = 1.0) -> None:
        self._values = (width, height, pixel_aspect)

    def width(self) -> int:
        return self._values[0]

    def height(self) -> int:
        return self._values[1]

    def pixelAspect(self) -> float:  # noqa: N802
        return self._values[2]


class Box:
    def __init__(self, x: int, y: int, w: int, h: int) -> None:
        self._values = (x, y, w, h)

    def x(self) -> int:
        return self._values[0]

    def y(self) -> int:
        return self._values[1]

    def w(self) -> int:
        return self._values[2]

    def h(self) -> int:
        return self._values[3]


class Knob:
    """One knob; its kind decides what ``value`` gives."""

    def __init__(self, node: Node, name: str, kind: str, values: Sequence[str] = ()) -> None:
        self._node = node
        self._name = name
        self.kind = kind
        self._enum = list(values)
        self._value: Any = _initial(kind)
        self.keys: dict[int, dict[float, float]] = {}
        self.script = ""
        self.link: Knob | None = None

    # Reading

    def name(self) -> str:
        return self._name

    def node(self) -> Node:
        return self._node

    def value(self) -> Any:
        self._node.nuke.require_main_thread()
        if self.link is not None:
            return self.link.value()
        if self.kind == "Enumeration_Knob":
            return self._enum[self._value] if self._enum else ""
        return self._value

    def getValue(self) -> Any:  # noqa: N802
        self._node.nuke.require_main_thread()
        return self._value

    def values(self) -> list[str]:
        return list(self._enum)

    def evaluate(self, frame: float | None = None) -> str | None:
        """TCL and padding resolved; only ``%04d`` and ``####`` here."""
        number = int(self._node.nuke.frame() if frame is None else frame)
        frame_knobs = self._node.knobs()
        if "frame_mode" in frame_knobs and self._name == "file":
            number = self._node.file_frame(number)
        text = re.sub(r"#+", lambda m: f"%0{len(m[0])}d", str(self._value or ""))
        return re.sub(r"%0?(\d*)d", lambda m: f"{number:0{int(m[1] or 1)}d}", text) or None

    def getEvaluatedValue(self) -> str | None:  # noqa: N802
        return self.evaluate()

    # Writing

    def setValue(self, value: Any, index: int | None = None) -> bool:  # noqa: N802
        self._node.nuke.require_main_thread()
        if self.link is not None:
            return self.link.setValue(value)
        if self.kind == "Enumeration_Knob":
            if isinstance(value, str):
                if value not in self._enum:
                    if self._name in ("file_type", "colorspace"):
                        raise TypeError(f"no such value {value!r}")
                    return False
                value = self._enum.index(value)
            self._value = int(value)
            if self._name == "file_type":
                self._node.add_format_knobs(self._enum[self._value])
        elif self.kind == "Boolean_Knob":
            self._value = bool(value)
        elif index is not None:
            self._value = list(self._value)
            self._value[index] = float(value)
        elif self.kind in ("String_Knob", "File_Knob", "EvalString_Knob", "Text_Knob"):
            if not isinstance(value, str) and self._name != "frame":
                raise TypeError(f"{self._name} takes text, found {value!r}")
            self._value = value
        else:
            self._value = value
        return True

    def setValues(self, values: Sequence[str]) -> None:  # noqa: N802
        self._enum = list(values)

    def fromUserText(self, text: str) -> None:  # noqa: N802
        """As typed into the file browser: a path and a range."""
        path, _, frames = text.rpartition(" ")
        first, _, last = frames.partition("-")
        self._value = path
        for knob, value in (("first", first), ("last", last), ("origfirst", first),
                            ("origlast", last)):  # fmt: skip
            self._node[knob].setValue(int(value))

    def toScript(self) -> str:  # noqa: N802
        return str(self._value)

    def execute(self) -> None:
        if self._name == "reload":
            self._node.reloads += 1

    def setEnabled(self, on: bool) -> None:  # noqa: N802
        return None

    def setVisible(self, on: bool) -> None:  # noqa: N802
        return None

    # Animation

    def isAnimated(self, index: int = -1) -> bool:  # noqa: N802
        return any(self.keys.values()) if index < 0 else bool(self.keys.get(index))

    def setAnimated(self, index: int = 0) -> None:  # noqa: N802
        self.keys.setdefault(index, {})

    def setValueAt(self, value: float, time: float, index: int = 0) -> None:  # noqa: N802
        self.keys.setdefault(index, {})[time] = value

    def getValueAt(self, time: float, index: int = 0) -> float:  # noqa: N802
        keys = self.keys.get(index)
        if not keys:
            value = self._value
            return float(value[index] if isinstance(value, (list, tuple)) else value)
        times = sorted(keys)
        return float(np.interp(time, times, [keys[t] for t in times]))

    def getKeyList(self) -> list[float]:  # noqa: N802
        return sorted({t for keys in self.keys.values() for t in keys})

    def removeKeyAt(self, time: float, index: int = -1) -> None:  # noqa: N802
        for keys in self.keys.values():
            keys.pop(time, None)


def _initial(kind: str) -> Any:
    if kind == "Eyedropper_Knob":
        return [0.0] * 8
    if kind == "XY_Knob":
        return [0.0, 0.0]
    if kind == "BBox_Knob":
        return [0.0] * 4
    if kind in ("Boolean_Knob",):
        return False
    if kind in ("Int_Knob", "Enumeration_Knob", "Double_Knob", "Array_Knob"):
        return 0
    return ""


class Node:
    """A node of the script."""

    def __init__(self, nuke: FakeNuke, class_name: str, name: str) -> None:
        self.nuke = nuke
        self._class = class_name
        self._inputs: list[Node | None] = []
        self._knobs: dict[str, Knob] = {}
        self.children: dict[str, Node] = {}
        self.parent_group: Node | None = None
        self.panel_is_open = False
        self.samples: dict[tuple[int, int], list[dict[str, float]]] = {}
        self.is_deep = False
        self.channel_names: list[str] = ["rgba.red", "rgba.green", "rgba.blue", "rgba.alpha"]
        self.meta: dict[str, Any] = {}
        self.node_format: Format | None = None
        self.range: tuple[int, int] | None = None
        self.reloads = 0
        self.error_message = ""
        self.screen_height = 18
        for knob in nuke.knobs_of_class(class_name):
            kind = nuke.kind_of(class_name, knob)
            self._knobs[knob] = Knob(self, knob, kind, ENUMERATIONS.get(knob, ()))
        if class_name in ("Roto", "RotoPaint"):
            self._knobs["curves"] = fake_roto.RotoKnob()  # type: ignore[assignment]
        self._knobs["name"].setValue(name)
        for knob, value in (("first", 1), ("last", 1), ("frame", "")):
            if knob in self._knobs and class_name in ("Read", "DeepRead"):
                self._knobs[knob]._value = value

    def __repr__(self) -> str:
        return f"<{self._class} {self.name()}>"

    # Knobs

    def __getitem__(self, name: str) -> Knob:
        self.nuke.require_main_thread()
        if name not in self._knobs:
            raise NameError(f"knob {name} does not exist on {self._class}")
        return self._knobs[name]

    def knob(self, name: str) -> Knob | None:
        return self._knobs.get(name)

    def knobs(self) -> dict[str, Knob]:
        return dict(self._knobs)

    def add_user_knob(self, knob: Knob) -> None:
        self._knobs[knob.name()] = knob

    def add_format_knobs(self, file_type: str) -> None:
        for name in FORMAT_KNOBS.get(file_type, ()):
            self._knobs[name] = Knob(
                self, name, "Enumeration_Knob", ["8 bit", "16 bit", "16 bit half"]
            )

    # Identity and graph

    def Class(self) -> str:  # noqa: N802
        return self._class

    def name(self) -> str:
        return str(self._knobs["name"].value())

    def fullName(self) -> str:  # noqa: N802
        up = self.parent_group
        return f"{up.fullName()}.{self.name()}" if up is not None else self.name()

    def setName(self, name: str) -> None:  # noqa: N802
        self._knobs["name"].setValue(self.nuke.free_name(name))

    def input(self, index: int) -> Node | None:
        self.nuke.require_main_thread()
        return self._inputs[index] if index < len(self._inputs) else None

    def inputs(self) -> int:
        return len(self._inputs)

    def maxInputs(self) -> int:  # noqa: N802
        return 10

    def setInput(self, index: int, node: Node | None) -> bool:  # noqa: N802
        self.nuke.require_main_thread()
        self._inputs += [None] * (index + 1 - len(self._inputs))
        self._inputs[index] = node
        return True

    def dependent(self, *args: Any) -> list[Node]:
        return [n for n in self.nuke.all_nodes if self in n._inputs]

    def node(self, name: str) -> Node | None:
        return self.children.get(name)

    def nodes(self) -> list[Node]:
        return list(self.children.values())

    # Place

    def xpos(self) -> int:
        return int(self._knobs["xpos"].value() or 0)

    def ypos(self) -> int:
        return int(self._knobs["ypos"].value() or 0)

    def setXYpos(self, x: int, y: int) -> None:  # noqa: N802
        self._knobs["xpos"].setValue(int(x))
        self._knobs["ypos"].setValue(int(y))

    def screenWidth(self) -> int:  # noqa: N802
        return 80

    def screenHeight(self) -> int:  # noqa: N802
        return self.screen_height

    def setSelected(self, on: bool) -> None:  # noqa: N802
        self._knobs["selected"].setValue(on)

    def isSelected(self) -> bool:  # noqa: N802
        return bool(self._knobs["selected"].value())

    def showControlPanel(self) -> None:  # noqa: N802
        self.panel_is_open = True

    def hideControlPanel(self) -> None:  # noqa: N802
        self.panel_is_open = False

    # Image

    def format(self) -> Format:
        up = self.input(0)
        return self.node_format or (up.format() if up is not None else Format(1920, 1080))

    def width(self) -> int:
        return self.format().width()

    def height(self) -> int:
        return self.format().height()

    def bbox(self) -> Box:
        return Box(0, 0, self.width(), self.height())

    def firstFrame(self) -> int:  # noqa: N802
        up = self.input(0)
        return self.range[0] if self.range else up.firstFrame() if up is not None else 1

    def lastFrame(self) -> int:  # noqa: N802
        up = self.input(0)
        return self.range[1] if self.range else up.lastFrame() if up is not None else 100

    def channels(self) -> list[str]:
        self.nuke.require_main_thread()
        return list(self.channel_names)

    def hasError(self) -> bool:  # noqa: N802
        return bool(self.error_message)

    def metadata(self, key: str | None = None, *args: Any) -> Any:
        self.nuke.require_main_thread()
        if self.nuke.is_loading:
            raise AssertionError(
                "metadata() was asked while a script loads, which damages it (crypto, issue 18)"
            )
        return dict(self.meta) if key is None else self.meta.get(key)

    def deepSampleCount(self, x: int, y: int) -> int:  # noqa: N802
        self.nuke.require_main_thread()
        if not self.is_deep:
            raise ValueError("not a deep node")  # code: the used test for "is this deep"
        if not (isinstance(x, int) and isinstance(y, int)):
            raise TypeError("deepSampleCount takes integer pixels")  # guide
        return len(self.samples.get((x, y), []))

    def deepSample(self, channel: str, x: int, y: int, index: int) -> float:  # noqa: N802
        if not self.is_deep:
            raise ValueError("not a deep node")
        sample = self.samples[x, y][index]
        if channel not in sample:
            raise ValueError(f"no channel {channel}")
        # scan/code: every deep channel is float32 in Nuke, UINT ids too.
        return float(np.float32(sample[channel]))

    def file_frame(self, frame: int) -> int:
        """Which file a Read shows at a script frame (guide: ``frame_mode``)."""
        mode, text = self["frame_mode"].value(), str(self["frame"].value() or "")
        if not text:
            return frame
        if mode == "start at":
            return frame - int(text) + int(self["first"].value())
        if mode == "offset":
            return frame + int(text)
        return int(eval(text, {"__builtins__": {}}, {"frame": frame}))


class Undo:
    """Nuke's undo switch; the fake counts unbalanced use."""

    depth = 0

    def disable(self) -> None:
        Undo.depth += 1

    def enable(self) -> None:
        Undo.depth -= 1

    def begin(self, name: str = "") -> None:
        return None

    def end(self) -> None:
        return None


class _Nodes:
    def __init__(self, nuke: FakeNuke) -> None:
        self._nuke = nuke

    def __getattr__(self, class_name: str) -> Callable[..., Node]:
        def create(*, inputs: Sequence[Node] = (), **knobs: Any) -> Node:
            node = self._nuke.new_node(class_name)
            for index, source in enumerate(inputs):
                node.setInput(index, source)
            for name, value in knobs.items():
                node[name].setValue(value)
            return node

        return create


class FakeNuke(types.ModuleType):
    """Stands in for the module ``nuke``."""

    GUI = True
    NUKE_VERSION_MAJOR = 16
    NUKE_VERSION_STRING = "16.0v1 (fake)"
    REPLACE = 0
    EXE_PATH = "/opt/fake/Nuke"

    def __init__(self) -> None:
        super().__init__("nuke")
        self.Undo = Undo
        self.reset()

    def reset(self) -> None:
        """An empty script."""
        self.all_nodes: list[Node] = []
        self.current_frame = 1
        self.is_loading = False
        self.messages: list[str] = []
        self.answers: list[bool] = []
        self.layers: dict[str, list[str]] = {}
        self.main_thread = threading.main_thread()
        self.queue: list[Callable[[], Any]] = []
        self.gizmo_path: list[Path] = []
        self.callbacks: dict[str, list[Callable[[], None]]] = {}
        self.panes: list[Any] = []
        self.menus: dict[str, FakeMenu] = {}
        self.renderer: Callable[[Node, int], None] | None = None
        self.cancel_after: int | None = None
        self.views_used: list[Any] = []
        self._this: tuple[Node, Knob] | None = None
        self.nodes = _Nodes(self)
        self._root = Node(self, "Root", "")
        self._root["name"]._value = ""
        self._root["proxy"].kind = "Boolean_Knob"
        self._root["proxy"]._value = False

    # Rules

    def require_main_thread(self) -> None:
        """Nodes may not be touched from any other thread (guide: threading)."""
        if threading.current_thread() is not self.main_thread:
            raise AssertionError("nodes were touched outside of the main thread (guide)")

    def knobs_of_class(self, class_name: str) -> list[str]:
        if class_name in KNOB_TABLE["classes"]:
            return [*COMMON_KNOBS, *KNOB_TABLE["classes"][class_name]]
        if class_name in KNOB_TABLE["legacy_classes"]:
            return [*COMMON_KNOBS, *KNOB_TABLE["legacy_classes"][class_name]]
        if class_name in EXTRA_CLASSES:
            return [*COMMON_KNOBS, *EXTRA_CLASSES[class_name]]
        raise RuntimeError(f"{class_name}: Unknown command")

    def kind_of(self, class_name: str, knob: str) -> str:
        if knob in ("selected", "disable", "proxy", "create_directories"):
            return "Boolean_Knob"
        if knob in ("name", "label", "help"):
            return "String_Knob"
        table = KNOB_TABLE["classes"].get(class_name, {})
        return str(table.get(knob, "Any_Knob")) if isinstance(table, Mapping) else "Any_Knob"

    # The script

    def new_node(self, class_name: str, name: str = "", parent: Node | None = None) -> Node:
        self.require_main_thread()
        node = Node(self, class_name, self.free_name(name or f"{class_name}1", parent))
        node.parent_group = parent
        if parent is None:
            self.all_nodes.append(node)
        else:
            parent.children[node.name()] = node
        return node

    def free_name(self, name: str, parent: Node | None = None) -> str:
        taken = set(parent.children) if parent else {n.name() for n in self.all_nodes}
        if name not in taken:
            return name
        base = name.rstrip("0123456789")
        return next(f"{base}{i}" for i in range(1, 10_000) if f"{base}{i}" not in taken)

    def createNode(self, class_name: str, knobs: str = "", inpanel: bool = True) -> Node:  # noqa: N802
        self.require_main_thread()
        selected = self.selectedNodes()
        for folder in self.gizmo_path:
            if (folder / f"{class_name}.gizmo").is_file():
                node = self.paste(nk.load(folder / f"{class_name}.gizmo"))[0]
                break
        else:
            node = self.new_node(class_name)
        for name, value in re.findall(r"(\w+) \{([^}]*)\}", knobs):
            node[name].setValue(value)
        if selected and class_name not in ("Read", "DeepRead", "BackdropNode"):
            node.setInput(0, selected[0])
        for other in self.all_nodes:
            other.setSelected(other is node)
        node.panel_is_open = inpanel
        return node

    def nodePaste(self, path: str) -> Node:  # noqa: N802
        return self.paste(nk.load(Path(path)))[0]

    def paste(self, script: nk.NkScript, parent: Node | None = None) -> list[Node]:
        """Create what a parsed script says."""
        return self._build(script.nodes, parent)

    def _build(self, sources: Sequence[nk.NkNode], parent: Node | None) -> list[Node]:
        made: dict[int, Node] = {}
        for source in sources:
            node = self.new_node(source.class_name, source.name, parent)
            made[id(source)] = node
            for index, up in enumerate(source.inputs):
                if up is not None:
                    node.setInput(index, made[id(up)])
            self._build(source.children, node)
            for spec in source.user_knobs:
                knob = Knob(node, spec.name, BY_USER_TYPE[spec.type_number],
                            [w.text for w in nk.words(spec.options.get("M", ""))])  # fmt: skip
                knob.script = spec.options.get("T", "")
                if spec.type_number == 41:
                    target, _, name = knob.script.partition(".")
                    knob.link = node.children[target][name]
                node.add_user_knob(knob)
            for name, word in source.knobs.items():
                if name not in ("name", "number"):
                    self._load_value(node, name, word)
        return list(made.values())

    def _load_value(self, node: Node, name: str, word: nk.Word) -> None:
        knob = node[name]
        if knob.kind == "Boolean_Knob":
            knob._value = word.text if "{" in word.text else word.text == "true"
        elif knob.kind == "Enumeration_Knob" and word.text in knob.values():
            knob.setValue(word.text)
        elif re.fullmatch(r"[-\d.]+( [-\d.]+)+", word.text):
            knob._value = [float(v) for v in word.text.split()]
        elif knob.kind in ("Double_Knob", "Int_Knob") and re.fullmatch(r"[-\d.]+", word.text):
            knob._value = float(word.text) if knob.kind == "Double_Knob" else int(word.text)
        else:
            knob._value = word.text

    def delete(self, node: Node) -> None:
        self.require_main_thread()
        self.all_nodes.remove(node)

    def allNodes(self, class_name: str = "", recurseGroups: bool = False) -> list[Node]:  # noqa: N802,N803
        def walk(nodes: Sequence[Node]) -> Iterator[Node]:
            for node in nodes:
                if not class_name or node.Class() == class_name:
                    yield node
                if recurseGroups:
                    yield from walk(node.nodes())

        return list(walk(self.all_nodes))

    def selectedNodes(self) -> list[Node]:  # noqa: N802
        return [node for node in self.all_nodes if node.isSelected()]

    def toNode(self, name: str) -> Node | None:  # noqa: N802
        if name == "root":
            return self._root
        return next((n for n in self.allNodes(recurseGroups=True) if n.fullName() == name), None)

    def exists(self, name: str) -> bool:
        return self.toNode(name) is not None

    def root(self) -> Node:
        return self._root

    def frame(self, number: int | None = None) -> int:
        if number is not None:
            self.current_frame = number
        return self.current_frame

    def activeViewer(self) -> Any:  # noqa: N802
        """The window of the first Viewer, or None where there is none (code: seen in plug-ins)."""
        viewers = self.allNodes("Viewer")
        return types.SimpleNamespace(node=lambda: viewers[0]) if viewers else None

    def views(self) -> list[str]:
        return ["main"]

    def thisView(self) -> str:  # noqa: N802
        return "main"

    def thisNode(self) -> Node:  # noqa: N802
        assert self._this is not None
        return self._this[0]

    def thisKnob(self) -> Knob:  # noqa: N802
        assert self._this is not None
        return self._this[1]

    def Layer(self, name: str, channels: Sequence[str]) -> None:  # noqa: N802
        if len(channels) > 8:
            raise RuntimeError("a layer has at most 8 channels")  # guide: creating channels
        self.layers[name] = list(channels)

    # What an artist does

    def edit(self, node: Node, knob_name: str, value: Any) -> None:
        """Change a knob in the properties panel."""
        node[knob_name].setValue(value)
        self.changed(node, node[knob_name])

    def changed(self, node: Node, knob: Knob) -> None:
        """``knobChanged`` runs only while the node's panel is open (guide: callbacks)."""
        code = str(node["knobChanged"].value() or "")
        if code and node.panel_is_open:
            self._this = (node, knob)
            exec(code, {"nuke": self})

    def press(self, node: Node, knob_name: str) -> None:
        """Press a script button."""
        self._this = (node, node[knob_name])
        exec(node[knob_name].script, {"nuke": self})

    # Dialogs, menus, callbacks

    def message(self, text: str) -> None:
        self.messages.append(text)

    def ask(self, text: str) -> bool:
        self.messages.append(text)
        return self.answers.pop(0) if self.answers else True

    def tprint(self, text: str) -> None:
        self.messages.append(text)

    def menu(self, name: str) -> FakeMenu:
        if not self.GUI:
            raise RuntimeError("not in GUI mode")  # guide: startup
        return self.menus.setdefault(name, FakeMenu())

    def addOnScriptLoad(self, function: Callable[[], None]) -> None:  # noqa: N802
        self.callbacks.setdefault("onScriptLoad", []).append(function)

    def addOnScriptSave(self, function: Callable[[], None]) -> None:  # noqa: N802
        self.callbacks.setdefault("onScriptSave", []).append(function)

    def addOnScriptClose(self, function: Callable[[], None]) -> None:  # noqa: N802
        self.callbacks.setdefault("onScriptClose", []).append(function)

    def pluginAddPath(self, path: str, addToSysPath: bool = True) -> None:  # noqa: N802,N803
        self.gizmo_path.append(Path(path))

    def getPaneFor(self, name: str) -> Any:  # noqa: N802
        return None

    # Threads

    def executeInMainThread(self, call: Callable[..., Any], args: tuple[Any, ...] = (),  # noqa: N802
                            kwargs: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        if threading.current_thread() is self.main_thread:
            raise AssertionError("executeInMainThread from the main thread can hang (guide)")
        if not isinstance(args, tuple):
            raise TypeError("args must be a tuple")  # guide: threading
        self.queue.append(lambda: call(*args, **(kwargs or {})))

    # Rendering

    def execute(self, node: Node, first: int, last: int, step: int = 1,
                views: Sequence[str] = ("main",), continueOnError: bool = False) -> None:  # noqa: N803 # fmt: skip
        self.require_main_thread()
        if self._root["proxy"].value():
            raise AssertionError("rendered while proxy is on, which renders proxies (scan)")
        self.views_used.append(list(views))
        for index, frame in enumerate(range(first, last + 1, step)):
            if self.cancel_after is not None and index >= self.cancel_after:
                raise RuntimeError("Cancelled")  # guide: cancel raises RuntimeError
            self.current_frame = frame
            if self.renderer is not None:
                self.renderer(node, frame)


class FakeMenu:
    """A menu that remembers its commands."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def addMenu(self, name: str, icon: str = "") -> FakeMenu:  # noqa: N802
        return self.items.setdefault(name, FakeMenu())

    def addCommand(self, name: str, command: Any, shortcut: str = "", icon: str = "",  # noqa: N802
                   tooltip: str = "") -> None:  # fmt: skip
        self.items[name] = command

    def addSeparator(self) -> None:  # noqa: N802
        return None
