"""One stored picture: its windows, parts, views and channels, read by OpenImageIO.

The plate's pixel grid is that of the file: windows keep their offsets, negative ones too. A
picture is delivered for any window of that grid; where the file stores nothing it is black, as in
every viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import PlateError

_RGB = (("r", "g", "b"), ("red", "green", "blue"))
_USUAL_LAYERS = ("", "rgba", "rgb", "beauty", "c")
_LARGEST_SIDE = 1 << 16
_MOST_PIXELS = 1 << 28


@dataclass(frozen=True)
class Box:
    """A window on the plate's pixel grid; ends are exclusive, offsets may be negative."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise PlateError(
                f"Expected a window with at least one pixel, found {self.width} x {self.height}."
            )

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.y1 - self.y0

    def intersection(self, other: Box) -> Box | None:
        """The part both windows share, or nothing."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x1, other.x1), min(self.y1, other.y1)
        return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def union(self, other: Box) -> Box:
        """The smallest window that holds both."""
        return Box(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )


@dataclass(frozen=True)
class PlateFormat:
    """The shape of a plate's pictures."""

    display_window: Box
    """The full image."""
    data_window: Box
    """The pixels stored."""
    pixel_aspect: float
    """Width of a pixel over its height: 2.0 for anamorphic plates."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.pixel_aspect <= 10.0:
            raise PlateError(
                f"Expected a pixel aspect between 0.1 and 10, found {self.pixel_aspect}. "
                "Set the right one with --pixel-aspect."
            )


@dataclass(frozen=True)
class Picture:
    """What a file says about the picture chosen from it."""

    format: PlateFormat
    part: int
    """Index of the part (OpenEXR) or subimage."""
    part_name: str
    channels: tuple[str, str, str]
    """Names of the channels taken for red, green and blue."""
    channel_indices: tuple[int, int, int]
    is_float: bool
    """Half or float samples, not integers."""
    eye: str = ""
    eyes: tuple[str, ...] = ()
    colour_interop_id: str = ""
    chromaticities: tuple[float, ...] = ()
    is_aces_container: bool = False
    parts: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class PictureChoice:
    """Which picture of a file with several is the plate."""

    part: str | None = None
    """Name or index of a part."""
    eye: str | None = None
    """Name of a stereo view."""
    layer: str | None = None
    """Channel prefix: ``beauty`` takes ``beauty.R``."""
    pixel_aspect: float | None = None
    """Overrides what the file says."""


def read_header(path: Path, *, frame: int, choice: PictureChoice) -> Picture:
    """Read what a file says about its picture, without its pixels.

    Raises:
        PlateError: the file is missing, damaged, or has no such picture.
    """
    with _Opened(path, frame=frame) as opened:
        return opened.choose(choice)


def read_pixels(
    path: Path, *, frame: int, choice: PictureChoice, window: Box
) -> tuple[Picture, np.ndarray]:
    """Read one window of a picture.

    Args:
        path: the file.
        frame: its frame number, for messages.
        choice: which picture of the file.
        window: the pixels wanted, on the plate's grid.

    Returns:
        The picture's header and ``(window.height, window.width, 3)`` float32 in the plate's own
        colour space; integer samples are 0..1; black where the file stores nothing.

    Raises:
        PlateError: the file is missing, truncated or damaged.
    """
    with _Opened(path, frame=frame) as opened:
        picture = opened.choose(choice)
        pixels = np.zeros((window.height, window.width, 3), np.float32)
        stored = picture.format.data_window
        shared = window.intersection(stored)
        if shared is not None:
            source = opened.read(picture)
            pixels[
                shared.y0 - window.y0 : shared.y1 - window.y0,
                shared.x0 - window.x0 : shared.x1 - window.x0,
            ] = source[
                shared.y0 - stored.y0 : shared.y1 - stored.y0,
                shared.x0 - stored.x0 : shared.x1 - stored.x0,
            ]
        return picture, pixels


class _Opened:
    """An open file; every OpenImageIO failure becomes a PlateError here."""

    def __init__(self, path: Path, *, frame: int) -> None:
        self._path = path
        self._frame = frame
        self._oiio = openimageio()

    def __enter__(self) -> _Opened:
        if not self._path.is_file():
            raise self._error(
                "is missing. Render it again, or set the range or --gaps so that it is not needed"
            )
        configuration = self._oiio.ImageSpec()
        configuration.attribute("oiio:UnassociatedAlpha", 1)  # colour as stored
        self._input = self._oiio.ImageInput.open(str(self._path), configuration)
        if self._input is None:
            size = self._path.stat().st_size
            raise self._error(
                f"cannot be opened as an image ({size} bytes: {one_line(self._oiio.geterror())}). "
                "Expected a complete image file; render or copy it again"
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._input.close()

    def choose(self, choice: PictureChoice) -> Picture:
        specs = self._parts()
        names = tuple(_part_name(spec, index) for index, spec in enumerate(specs))
        candidates = list(range(len(specs)))
        if choice.part is not None:
            candidates = [
                index for index in candidates if choice.part in (names[index], str(index))
            ]
            if not candidates:
                raise self._error(
                    f"has no part {choice.part!r}; it has {', '.join(names)}. Choose one with "
                    "--part"
                )
        eyes = _eyes(specs)
        if choice.eye is not None and choice.eye not in eyes:
            raise self._error(
                f"has no view {choice.eye!r}; it has {', '.join(eyes) or 'a single unnamed one'}. "
                "Choose one with --eye"
            )
        eye = choice.eye if choice.eye is not None else (eyes[0] if eyes else "")
        flat = [
            index
            for index in candidates
            if not specs[index].deep and specs[index].getattribute("view") in (None, "", eye)
        ]
        for find in (_colour_channels, _single_channel):
            for index in flat:
                chosen = find(specs[index], choice=choice, eye=eye)
                if chosen is not None:
                    return self._picture(
                        specs, index=index, channels=chosen, eye=eye, eyes=eyes, choice=choice
                    )
        if all(specs[index].deep for index in candidates):
            raise self._error(
                "holds deep samples. Expected a flat image: flatten it first (DeepToImage, "
                "oiiotool --flatten)"
            )
        found = "; ".join(
            (f"{names[index]}: " if len(specs) > 1 else "") + ", ".join(specs[index].channelnames)
            for index in candidates
        )
        wanted = f"layer {choice.layer!r}" if choice.layer else "red, green and blue channels"
        raise self._error(f"has no {wanted}. It has {found}. Choose with --layer or --part")

    def read(self, picture: Picture) -> np.ndarray:
        """All stored pixels of a picture's three channels, (H, W, 3) float32."""
        first, last = min(picture.channel_indices), max(picture.channel_indices)
        pixels = self._input.read_image(picture.part, 0, first, last + 1, "float")
        complaint = self._input.geterror()
        if pixels is None or complaint:
            raise self._error(
                f"is truncated or damaged ({one_line(complaint)}). Expected all of its pixels; "
                "render or copy it again"
            )
        window = picture.format.data_window
        pixels = np.asarray(pixels, np.float32).reshape(window.height, window.width, -1)
        order = [index - first for index in picture.channel_indices]
        return pixels if order == [0, 1, 2] else pixels[:, :, order]

    def _parts(self) -> list[Any]:
        specs: list[Any] = []
        while self._input.seek_subimage(len(specs), 0):
            specs.append(self._oiio.ImageSpec(self._input.spec()))
        self._input.geterror()  # running off the last part is not an error
        return specs

    def _picture(
        self,
        specs: list[Any],
        *,
        index: int,
        channels: tuple[int, int, int],
        eye: str,
        eyes: tuple[str, ...],
        choice: PictureChoice,
    ) -> Picture:
        spec = specs[index]
        for width, height in (
            (spec.width, spec.height),
            (spec.full_width, spec.full_height),
        ):
            if max(width, height) > _LARGEST_SIDE or width * height > _MOST_PIXELS:
                raise self._error(
                    f"claims {width} x {height} pixels, more than any plate has; it is damaged or "
                    "not a plate. Render or copy it again"
                )
        aspect = choice.pixel_aspect or float(spec.get_float_attribute("PixelAspectRatio", 1.0))
        if not math.isfinite(aspect) or aspect <= 0:
            aspect = 1.0
        try:
            shape = PlateFormat(
                display_window=Box(
                    spec.full_x,
                    spec.full_y,
                    spec.full_x + spec.full_width,
                    spec.full_y + spec.full_height,
                ),
                data_window=Box(spec.x, spec.y, spec.x + spec.width, spec.y + spec.height),
                pixel_aspect=aspect,
            )
        except PlateError as error:
            raise self._error(f"has a shape that cannot be used: {error}") from error
        formats = spec.channelformats or (spec.format,) * spec.nchannels
        chromaticities = spec.getattribute("chromaticities") or ()
        names = tuple(_part_name(other, number) for number, other in enumerate(specs))
        return Picture(
            format=shape,
            part=index,
            part_name=names[index],
            channels=(
                spec.channelnames[channels[0]],
                spec.channelnames[channels[1]],
                spec.channelnames[channels[2]],
            ),
            channel_indices=channels,
            is_float=str(formats[channels[0]]) in ("half", "float", "double"),
            eye=eye,
            eyes=eyes,
            colour_interop_id=str(spec.getattribute("colorInteropID") or ""),
            chromaticities=tuple(float(value) for value in chromaticities),
            is_aces_container=bool(spec.get_int_attribute("acesImageContainerFlag", 0)),
            parts=names,
        )

    def _error(self, finding: str) -> PlateError:
        return PlateError(
            f"Frame {self._frame} of the plate ({self._path}) {finding}.",
            path=self._path,
            frame=self._frame,
        )


def _part_name(spec: Any, index: int) -> str:
    return str(spec.getattribute("oiio:subimagename") or spec.getattribute("name") or index)


def _eyes(specs: list[Any]) -> tuple[str, ...]:
    """Stereo views of a file, the default one first."""
    listed: list[str] = []
    for spec in specs:
        views = spec.getattribute("multiView") or ()
        for view in (views,) if isinstance(views, str) else views:
            listed.append(str(view))
        if spec.getattribute("view"):
            listed.append(str(spec.getattribute("view")))
    return tuple(dict.fromkeys(listed))


def _colour_channels(spec: Any, *, choice: PictureChoice, eye: str) -> tuple[int, int, int] | None:
    """Indices of red, green and blue in a part.

    In a multi-view part the default view's channels carry no view name; those of the others have
    it as the last level before the channel: ``right.R``, ``diffuse.right.R``.
    """
    groups = _channel_groups(spec)
    suffix = _eye_suffix(spec, eye=eye)
    for name in [choice.layer.lower()] if choice.layer is not None else _USUAL_LAYERS:
        channels = _rgb(groups.get(".".join(filter(None, (name, suffix))), {}))
        if channels is not None:
            return channels
    if choice.layer is None and not suffix:
        # One layer of an unusual name is the plate; of several, the user has to choose.
        others = [channels for group in groups.values() if (channels := _rgb(group))]
        return others[0] if len(others) == 1 else None
    return None


def _single_channel(spec: Any, *, choice: PictureChoice, eye: str) -> tuple[int, int, int] | None:
    """A luminance channel, or the only channel of a part that was named, for all three."""
    prefix = ".".join(filter(None, ((choice.layer or "").lower(), _eye_suffix(spec, eye=eye))))
    group = _channel_groups(spec).get(prefix, {})
    is_luminance = "y" in group and not {"ry", "by"} & group.keys()
    is_named = len(group) == 1 and (choice.part is not None or choice.layer is not None)
    if not is_luminance and not is_named:
        return None
    index = group["y"] if is_luminance else next(iter(group.values()))
    return (index, index, index)


def _channel_groups(spec: Any) -> dict[str, dict[str, int]]:
    """Layer name to channel name to index, in lower case."""
    groups: dict[str, dict[str, int]] = {}
    for index, name in enumerate(spec.channelnames):
        layer, _, channel = name.lower().rpartition(".")
        groups.setdefault(layer, {})[channel] = index
    return groups


def _eye_suffix(spec: Any, *, eye: str) -> str:
    views = spec.getattribute("multiView") or ()
    views = (views,) if isinstance(views, str) else tuple(views)
    return eye.lower() if eye in views[1:] else ""


def _rgb(group: dict[str, int]) -> tuple[int, int, int] | None:
    for red, green, blue in _RGB:
        if red in group and green in group and blue in group:
            return (group[red], group[green], group[blue])
    return None


def one_line(text: str) -> str:
    """A library's complaint, fit for the middle of a sentence."""
    return " ".join(text.split())[:200] or "no reason given"


def openimageio() -> Any:
    """The package, imported when the first picture is read.

    Raises:
        PlateError: it is not installed.
    """
    try:
        import OpenImageIO
    except ImportError as error:
        raise PlateError(
            "Reading plates needs the package OpenImageIO: install segmatte[server]."
        ) from error
    return OpenImageIO
