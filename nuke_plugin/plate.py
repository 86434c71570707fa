"""The plate to submit: which files, which frames, or what to render first.

A Read goes to the server as it is where that gives the same picture and the server sees its
files. Everything else is rendered through a temporary Write: then colour, view, reformat and
timing are all Nuke's. Submitted directly, frames are the files' own numbers; rendered, they are
script frames. ``Plate.offset`` is the difference, and prompts are converted with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nuke

MODEL_PIXELS = 2048
"""Longest side of a rendered plate; models see no more."""
MOVIES = (".mov", ".mp4", ".m4v", ".mxf", ".r3d", ".avi")
_DISPLAY_SPACES = (
    "sRGB", "Output - sRGB", "sRGB - Display", "ACES 1.0 SDR-video (sRGB)", "color_picking",
)  # fmt: skip
_PADDED = re.compile(r"#+|%0?\d*d")
_SHIFTED = re.compile(r"\s*frame\s*(?:([+-])\s*(\d+))?\s*")


class PlateProblem(Exception):  # noqa: N818
    """The selected node cannot be submitted as things are; a sentence for the artist."""


class RenderCancelled(Exception):  # noqa: N818
    """The artist stopped the render."""


@dataclass(frozen=True)
class Plate:
    """What a node gives."""

    name: str
    """The plate's name, which results are called after."""
    path: str
    """Pattern of the files; empty when it has to be rendered."""
    reason: str
    """Why it is rendered, as a sentence; empty when it is submitted directly."""
    first: int
    """First script frame."""
    last: int
    """Last script frame, included."""
    offset: int
    """File frame minus script frame; 0 when rendered."""
    width: int
    height: int
    pixel_aspect: float
    colorspace: str = ""

    def file_frame(self, script_frame: int) -> int:
        """The number a frame has in the result."""
        return script_frame + self.offset


def plate_of(node: Any, *, read_roots: Sequence[str] = ()) -> Plate:
    """How a node is submitted.

    Args:
        node: the selected node.
        read_roots: folders the server sees; a Read elsewhere is rendered and uploaded.

    Raises:
        PlateProblem: it gives no picture.
    """
    form = node.format()
    if form.width() < 1 or form.height() < 1:
        raise PlateProblem(f"{node.name()} has no format. Connect it to an image first.")
    first, last = int(node.firstFrame()), int(node.lastFrame())
    path, reason, offset = "", "", 0
    if node.Class() == "Read":
        path, reason, offset, first, last = _read(node, read_roots)
    else:
        reason = f"{node.name()} is a {node.Class()}, so its picture is rendered."
    name = Path(path).name if path else _rendered_name(node)
    return Plate(
        name=name,
        path=path,
        reason=reason,
        first=first,
        last=last,
        offset=offset,
        width=form.width(),
        height=form.height(),
        pixel_aspect=float(form.pixelAspect()),
        colorspace=_colorspace(node) if path else "",
    )


def _read(node: Any, roots: Sequence[str]) -> tuple[str, str, int, int, int]:
    """Path or reason, offset, first and last script frame of a Read."""
    path = str(node["file"].value() or "").replace("\\", "/")
    offset = _offset(node)
    first, last = int(node["first"].value()), int(node["last"].value())
    reason = ""
    if node["disable"].value():
        reason = f"{node.name()} is disabled, so what it shows is rendered."
    elif offset is None:
        reason = f"{node.name()} chooses its frames by an expression, so it is rendered."
    elif "[" in path or "%V" in path or "%v" in path:
        reason = f"The file name of {node.name()} holds an expression or a view, so it is rendered."
    elif Path(path).suffix.lower() in MOVIES:
        reason = f"{node.name()} is a movie, so it is rendered."
    elif not _under(path, roots):
        reason = "The server does not see this folder, so the plate is rendered and uploaded."
    if reason or offset is None:
        return "", reason, 0, int(node.firstFrame()), int(node.lastFrame())
    return path, "", offset, first - offset, last - offset


def _offset(node: Any) -> int | None:
    """File frame minus script frame; None when it is no constant."""
    mode, text = node["frame_mode"].value(), str(node["frame"].value() or "").strip()
    if not text:
        return 0
    if mode == "expression":
        found = _SHIFTED.fullmatch(text)
        if found is None:
            return None
        return int(f"{found.group(1)}{found.group(2)}") if found.group(2) else 0
    try:
        number = int(float(text))
    except ValueError:
        return None
    return int(node["first"].value()) - number if mode == "start at" else number


def _under(path: str, roots: Sequence[str]) -> bool:
    return any(path.startswith(root.replace("\\", "/").rstrip("/") + "/") for root in roots)


def _colorspace(node: Any) -> str:
    """The Read's colour space as the config calls it; empty when it is the default or raw."""
    if node["raw"].value():
        return ""
    text = str(node["colorspace"].value()).split("\t")[-1]
    found = re.fullmatch(r"default(?: \((.*)\))?", text)
    return (found.group(1) or "") if found else text


def viewer_looks() -> tuple[str, ...]:
    """The views the viewer offers, as it writes them, the one it shows first.

    None in a script that is not managed by an OCIO config: Nuke's own view names mean nothing to
    a server, whose default is the same picture for a screen.
    """
    window = nuke.activeViewer()
    if nuke.root()["colorManagement"].value() != "OCIO" or window is None:
        return ()
    knob = window.node()["viewerProcess"]
    names = (str(name) for name in (knob.value(), *knob.values()))
    return tuple(dict.fromkeys(name for name in names if name != "None"))


def display_and_view(look: str) -> tuple[str, str]:
    """Display and view of a look as the viewer writes it: ``ACES 1.0 - SDR Video (sRGB)``."""
    found = re.fullmatch(r"(.+?) \(([^()]+)\)", look.strip())
    return (found.group(2), found.group(1)) if found else ("", look.strip())


def _rendered_name(node: Any) -> str:
    """A plate name for a rendered node: that of the Read above it, else its own."""
    current = node
    for _ in range(200):
        if current is None:
            break
        if current.Class() == "Read" and current["file"].value():
            name = Path(str(current["file"].value())).name
            plain: str = _PADDED.sub("####", name).rsplit(".", 1)[0] + ".png"
            return plain if "####" in plain else plain.replace(".png", ".####.png")
        current = current.input(0)
    return f"{node.name()}.####.png"


# Rendering


def render(
    node: Any,
    frames: Sequence[int],
    folder: Path,
    *,
    view: str = "main",
    exposure_stops: float = 0.0,
) -> list[tuple[int, Path]]:
    """Render a node as the models see it: sRGB, 8 bit, display window, square pixels.

    Args:
        node: what to render.
        frames: script frames.
        folder: where the pictures go.
        view: which view.
        exposure_stops: brightens before the display transform.

    Returns:
        Script frame and file of each.

    Raises:
        RenderCancelled: the artist pressed cancel.
        PlateProblem: Nuke could not render it.
    """
    form = node.format()
    with _temporary() as create:
        graded = create("Grade", inputs=[node], channels="rgb")
        graded["multiply"].setValue(2.0**exposure_stops)
        # Wants the display window, also of a node with a larger or smaller bounding box.
        crop = create("Crop", inputs=[graded])
        crop["box"].setValue([0, 0, form.width(), form.height()])
        width, height = model_size(form.width(), form.height(), float(form.pixelAspect()))
        fitted = create("Reformat", inputs=[crop])
        for name, value in (
            ("type", "to box"), ("box_fixed", True), ("box_width", width),
            ("box_height", height), ("box_pixel_aspect", 1.0), ("resize", "distort"),
        ):  # fmt: skip
            if name in fitted.knobs():
                fitted[name].setValue(value)
        write = _write(create, fitted, folder / "plate.%07d.png", channels="rgb")
        _set_display_space(write)
        return _execute(write, frames, folder / "plate.%07d.png", view=view)


def render_alpha(
    node: Any, frames: Sequence[int], folder: Path, *, view: str = "main"
) -> list[tuple[int, Path]]:
    """Render a node's alpha as a mask, whatever made it: a keyer, paint, Cryptomatte.

    Args:
        node: what to render.
        frames: script frames.
        folder: where the masks go.
        view: which view.

    Returns:
        Script frame and file of each.

    Raises:
        RenderCancelled: the artist pressed cancel.
        PlateProblem: Nuke could not render it, or it has no alpha.
    """
    if "rgba.alpha" not in node.channels():
        raise PlateProblem(f"{node.name()} has no alpha. Choose a node that has one.")
    form = node.format()
    pattern = folder / f"{node.name()}.%07d.exr"
    with _temporary() as create:
        crop = create("Crop", inputs=[node])
        crop["box"].setValue([0, 0, form.width(), form.height()])
        write = _write(create, crop, pattern, channels="alpha")
        write["raw"].setValue(True)
        return _execute(write, frames, pattern, view=view)


def model_size(width: int, height: int, pixel_aspect: float) -> tuple[int, int]:
    """Size of the rendered picture: square pixels, longest side at most ``MODEL_PIXELS``.

    Pixels are widened or heightened, never shrunk, as the server does it.
    """
    wide, high = width * max(pixel_aspect, 1.0), height / min(pixel_aspect, 1.0)
    scale = min(1.0, MODEL_PIXELS / max(wide, high))
    return max(1, round(wide * scale)), max(1, round(high * scale))


@contextmanager
def _temporary() -> Iterator[Callable[..., Any]]:
    """Creates nodes that are gone afterwards; proxy is off and nothing can be undone."""
    made: list[Any] = []
    root = nuke.root()
    proxy, frame = root["proxy"].value(), nuke.frame()
    undo = nuke.Undo()
    undo.disable()

    def create(node_class: str, **options: Any) -> Any:
        node = getattr(nuke.nodes, node_class)(**options)
        made.append(node)
        return node

    try:
        root["proxy"].setValue(False)
        yield create
    finally:
        for node in reversed(made):
            nuke.delete(node)
        root["proxy"].setValue(proxy)
        nuke.frame(frame)
        undo.enable()


def _write(create: Callable[..., Any], source: Any, pattern: Path, *, channels: str) -> Any:
    write = create("Write", inputs=[source])
    write["file"].setValue(str(pattern).replace("\\", "/"))
    # Knobs of a format exist only after its type is set.
    write["file_type"].setValue(pattern.suffix.lstrip("."))
    write["channels"].setValue(channels)
    write["create_directories"].setValue(True)
    if "datatype" in write.knobs():
        write["datatype"].setValue("8 bit" if pattern.suffix == ".png" else "16 bit half")
    return write


def _set_display_space(write: Any) -> None:
    choices = [str(value).split("\t")[-1] for value in write["colorspace"].values()]
    for name in _DISPLAY_SPACES:
        if name in choices:
            write["colorspace"].setValue(name)
            return
    raise PlateProblem(
        "The script's colour management offers no sRGB output space, only "
        f"{', '.join(choices[:5])}. Ask for one of {', '.join(_DISPLAY_SPACES)} in the config."
    )


def _execute(
    write: Any, frames: Sequence[int], pattern: Path, *, view: str
) -> list[tuple[int, Path]]:
    done = []
    for first, last in _runs(frames):
        try:
            nuke.execute(write, first, last, 1, [view])
        except RuntimeError as error:
            if "cancel" in str(error).lower():
                raise RenderCancelled("The render of the plate was cancelled.") from error
            raise PlateProblem(f"Nuke could not render the plate: {error}") from error
        done += [(frame, Path(str(pattern) % frame)) for frame in range(first, last + 1)]
    return done


def _runs(frames: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for frame in sorted(set(frames)):
        if runs and runs[-1][1] == frame - 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return runs
