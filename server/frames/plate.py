"""A plate as the pipeline sees it: numbered model images of one window, read ahead in threads.

First stage of the flow. The one decision: everything that differs between plates (numbering,
parts, windows, pixel aspect, colour) ends here; later stages see square sRGB pixels and get back
to the plate's grid by a pure scale and offset of ``Plate.window``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from server.errors import PlateError
from server.frames.colour import (
    ColourChoice,
    ColourConfig,
    ColourPipeline,
    DisplayReferred,
    automatic_exposure,
)
from server.frames.images import (
    Box,
    Picture,
    PictureChoice,
    PlateFormat,
    read_header,
    read_pixels,
)
from server.frames.movie import Movie
from server.frames.sequence import (
    MOVIE_SUFFIXES,
    ChosenFrames,
    FrameRange,
    StoredFrames,
    choose_frames,
    find_frames,
    format_frames,
)

_HEADERS_AT_ONCE = 8
"""Headers wait for the file server, not for a core."""
_MOST_WORKERS = 4
"""Each holds one frame at the plate's full size in float."""


@dataclass(frozen=True)
class Original:
    """The plate that model images were made from, where these are read in its place."""

    format: PlateFormat
    window: Box
    """The part of it that the model images show."""

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Original:
        """Back from JSON values, as ``dataclasses.asdict`` gives them."""
        shape = data["format"]
        return cls(
            PlateFormat(
                Box(**shape["display_window"]), Box(**shape["data_window"]), shape["pixel_aspect"]
            ),
            Box(**data["window"]),
        )


@dataclass(frozen=True)
class PlateSettings:
    """How a plate is read."""

    colorspace: str | None = None
    """Colour space of the plate: a name, alias or role of the OCIO config; by default inferred."""
    display: str | None = None
    """Display whose pictures the model sees; by default the config's sRGB display."""
    view: str | None = None
    """View used for scene-referred plates; by default the display's first."""
    ocio_config: str | None = None
    """Path of an OCIO config; by default ``$OCIO``, else the built-in ACES studio config."""
    exposure: float | Literal["auto"] = 0.0
    """Stops added to what the model sees; ``auto`` brings the plate's mean to middle grey."""
    window: Literal["display", "data"] = "display"
    """Segment the full image, or also the overscan stored outside of it."""
    gaps: Literal["error", "hold", "skip"] = "error"
    """Missing frames stop the job, show the frame before, or are left out."""
    part: str | None = None
    """Name or index of the part of a multi-part file; by default the first with colour."""
    eye: str | None = None
    """Stereo view, by default the file's default one."""
    layer: str | None = None
    """Channel prefix of the colour: ``beauty`` reads ``beauty.R``."""
    pixel_aspect: float | None = None
    """Overrides the pixel aspect stored in the files."""
    first_movie_frame: int = 1
    """Frame number of a movie's first picture."""
    longest_side: int = 2048
    """Longest side of the model image; smaller plates are not enlarged to it."""
    stands_for: Original | None = None
    """The files are model images of this plate: display-referred sRGB, square pixels. Results are
    in its format; the settings of colour, window and pixel aspect were applied in the making."""
    known_as: str = ""
    """Path people know the plate by, where the files are reached by another: for the config's file
    rules, the report and messages."""

    def __post_init__(self) -> None:
        if isinstance(self.stands_for, Mapping):  # as shot.json and the job store have it
            object.__setattr__(self, "stands_for", Original.from_data(self.stands_for))
        if self.window not in ("display", "data"):
            raise PlateError(f"Expected window display or data, found {self.window!r}.")
        if self.gaps not in ("error", "hold", "skip"):
            raise PlateError(f"Expected gaps error, hold or skip, found {self.gaps!r}.")
        if self.longest_side < 16:
            raise PlateError(f"Expected a longest side of 16 or more, found {self.longest_side}.")
        if isinstance(self.exposure, str) and self.exposure != "auto":
            raise PlateError(f"Expected an exposure in stops or 'auto', found {self.exposure!r}.")


@dataclass(frozen=True)
class ModelImage:
    """What a model sees of one frame."""

    frame: int
    """The plate's frame number."""
    pixels: np.ndarray
    """(H, W, 3) uint8, display-referred sRGB, square pixels."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise PlateError(
                f"Expected (H, W, 3) uint8 for a model image, found {self.pixels.shape} "
                f"{self.pixels.dtype}.",
                frame=self.frame,
            )


class _Source(Protocol):
    """Where pictures come from: numbered files or a movie."""

    name: str
    frames: list[int]
    example: Path
    reads_in_order: bool

    def header(self, frame: int) -> Picture: ...

    def pixels(self, frame: int, *, window: Box) -> tuple[Picture, np.ndarray]: ...

    def close(self) -> None: ...


class Plate:
    """An opened plate; use it as a context manager or close it."""

    def __init__(
        self,
        *,
        path: Path,
        source: _Source,
        chosen: ChosenFrames,
        picture: Picture,
        window: Box,
        colour: ColourPipeline | DisplayReferred,
        settings: PlateSettings,
    ) -> None:
        """Made by :func:`open_plate`."""
        original = settings.stands_for
        self.path = path
        self.name = Path(settings.known_as or source.name).name if original else source.name
        self.frames = chosen.frames
        self.format = original.format if original else picture.format
        self.window = original.window if original else window
        self.model_size = _model_size(
            window,
            pixel_aspect=1.0 if original else picture.format.pixel_aspect,
            longest_side=settings.longest_side,
        )
        self._read_window = window
        self._source = source
        self._chosen = chosen
        self._picture = picture
        self._colour = colour
        self._settings = settings

    def __enter__(self) -> Plate:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._source.close()

    @property
    def stored_pixels(self) -> int:
        """Pixels of one stored picture, which may be a model image."""
        stored = self._picture.format.data_window
        return stored.width * stored.height

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about how the plate was read."""
        return self._colour.warnings

    def read(self, frame: int) -> ModelImage:
        """Read one frame.

        Raises:
            PlateError: the plate has no such frame, or its file is missing, truncated, damaged or
                of another shape than the first.
        """
        if frame not in self.frames:
            raise PlateError(
                f"Frame {frame} is not among the frames of plate {self.name} "
                f"({format_frames(self.frames)}). Choose one of these.",
                path=self.path,
                frame=frame,
            )
        stored = self._chosen.held.get(frame, frame)
        picture, pixels = self._source.pixels(stored, window=self._read_window)
        _check_same_shape(self._picture, picture, frame=stored, path=self.path, name=self.name)
        display = self._colour.to_display(pixels)
        return ModelImage(frame=frame, pixels=_resample(display, size=self.model_size))

    def images(
        self, frames: Iterable[int] | None = None, *, read_ahead: int = 2
    ) -> Generator[ModelImage, None, None]:
        """Read frames in the order given, some ahead of their use, never more than that.

        Args:
            frames: frame numbers, in any order; by default all of the plate.
            read_ahead: model images kept ready beyond the one in use.

        Raises:
            PlateError: as :meth:`read`, when the frame concerned is reached.
        """
        numbers = iter(self.frames if frames is None else frames)
        workers = 1 if self._source.reads_in_order else max(1, min(read_ahead, _MOST_WORKERS))
        pending: deque[Future[ModelImage]] = deque()
        pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="read-ahead")
        try:
            for number in numbers:
                pending.append(pool.submit(self.read, number))
                if len(pending) > read_ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def describe(self) -> dict[str, object]:
        """How the plate was read, for the shot's report (JSON values only)."""
        shape = self.format
        colour = self._colour.describe()
        colour["exposure_from"] = "auto" if self._settings.exposure == "auto" else "setting"
        return {
            "path": str(self.path),
            "name": self.name,
            "frames": format_frames(self.frames),
            "frame_count": len(self.frames),
            "held": {str(frame): source for frame, source in self._chosen.held.items()},
            "skipped": list(self._chosen.skipped),
            "display_window": _as_list(shape.display_window),
            "data_window": _as_list(shape.data_window),
            "pixel_aspect": shape.pixel_aspect,
            "window": self._settings.window,
            "segmented_window": _as_list(self.window),
            "model_size": list(self.model_size),
            "from_model_images": self._settings.stands_for is not None,
            "part": self._picture.part_name,
            "eye": self._picture.eye,
            "channels": list(self._picture.channels),
            "colour": colour,
            "warnings": list(self.warnings),
        }


def open_plate(
    path: Path | str,
    *,
    frame_range: FrameRange | None = None,
    settings: PlateSettings = PlateSettings(),
) -> Plate:
    """Open a plate and look at the header of every frame, so that trouble shows before the work.

    Args:
        path: a sequence (``plate.####.exr``, ``plate.%04d.exr``, ``plate.@@@@.exr``), a folder
            with one sequence, a single image or a movie.
        frame_range: frames to work on; by default all.
        settings: how the plate is read.

    Raises:
        PlateError: there is no such plate, frames are missing, damaged or differ in shape, or the
            colour settings do not fit the OCIO config.
    """
    path = Path(path)
    source, declared = _open_source(path, settings=settings)
    shown = Path(settings.known_as) if settings.known_as else path
    try:
        chosen = choose_frames(
            name=source.name,
            available=source.frames,
            frame_range=frame_range or declared,
            gaps=settings.gaps,
            path=shown,
        )
        overscan = settings.window == "data" and settings.stands_for is None
        picture, window = _look_at_headers(
            source, chosen=chosen, path=shown, include_overscan=overscan
        )
        colour: ColourPipeline | DisplayReferred
        if settings.stands_for is not None:
            _check_model_images(picture, settings.stands_for, settings, path=shown)
            colour = DisplayReferred()
        else:
            colour = _colour(source, settings, picture=picture, window=window, path=path)
        return Plate(
            path=shown,
            source=source,
            chosen=chosen,
            picture=picture,
            window=window,
            colour=colour,
            settings=settings,
        )
    except BaseException:
        source.close()
        raise


def _colour(
    source: _Source, settings: PlateSettings, *, picture: Picture, window: Box, path: Path
) -> ColourPipeline:
    config = ColourConfig(settings.ocio_config)
    example = source.example
    if settings.known_as:
        known = Path(settings.known_as)
        example = (known if path.is_dir() else known.parent) / example.name
    space = config.infer_space(settings.colorspace, path=example, picture=picture)
    if isinstance(settings.exposure, str):
        stops = automatic_exposure(_sample(source, window=window), config=config, space=space)
    else:
        stops = settings.exposure
    return ColourPipeline(
        config=config,
        space=space,
        choice=ColourChoice(display=settings.display, view=settings.view),
        stops=stops,
    )


class _Files:
    """Numbered image files."""

    reads_in_order = False

    def __init__(self, stored: StoredFrames, *, choice: PictureChoice) -> None:
        self.name = stored.name
        self.frames = list(stored.files)
        self.example = stored.files[self.frames[0]]
        self._files = stored.files
        self._choice = choice

    def header(self, frame: int) -> Picture:
        return read_header(self._files[frame], frame=frame, choice=self._choice)

    def pixels(self, frame: int, *, window: Box) -> tuple[Picture, np.ndarray]:
        return read_pixels(self._files[frame], frame=frame, choice=self._choice, window=window)

    def close(self) -> None:
        pass


def _open_source(path: Path, *, settings: PlateSettings) -> tuple[_Source, FrameRange | None]:
    if path.suffix.lower() in MOVIE_SUFFIXES and path.is_file():
        movie = Movie(
            path, first_frame=settings.first_movie_frame, pixel_aspect=settings.pixel_aspect
        )
        return movie, None
    stored = find_frames(path)
    choice = PictureChoice(
        part=settings.part,
        eye=settings.eye,
        layer=settings.layer,
        pixel_aspect=settings.pixel_aspect,
    )
    return _Files(stored, choice=choice), stored.declared


def _look_at_headers(
    source: _Source, *, chosen: ChosenFrames, path: Path, include_overscan: bool
) -> tuple[Picture, Box]:
    """The first frame's header, checked against all others, and the window to segment."""
    frames = sorted({chosen.held.get(frame, frame) for frame in chosen.frames})
    first = source.header(frames[0])
    window = first.format.display_window
    if include_overscan:
        window = window.union(first.format.data_window)
    with ThreadPoolExecutor(_HEADERS_AT_ONCE, thread_name_prefix="headers") as pool:
        for frame, picture in zip(frames, pool.map(source.header, frames), strict=True):
            _check_same_shape(first, picture, frame=frame, path=path, name=source.name)
            if include_overscan:
                window = window.union(picture.format.data_window)
    return first, window


def _check_same_shape(
    expected: Picture, found: Picture, *, frame: int, path: Path, name: str
) -> None:
    if _shape_in_words(expected) != _shape_in_words(found):
        raise PlateError(
            f"Frame {frame} of plate {name} has {_shape_in_words(found)}, expected "
            f"{_shape_in_words(expected)} as in the first frame. Render it again, or choose a "
            "range without it.",
            path=path,
            frame=frame,
        )


def _shape_in_words(picture: Picture) -> str:
    window = picture.format.display_window
    return (
        f"display window {window.width} x {window.height} at ({window.x0}, {window.y0}), "
        f"pixel aspect {picture.format.pixel_aspect:g}"
    )


def _check_model_images(
    picture: Picture, original: Original, settings: PlateSettings, *, path: Path
) -> None:
    """Refuse pictures that cannot be model images of the plate they are said to stand for."""
    found = picture.format.display_window
    height, width = _model_size(
        original.window,
        pixel_aspect=original.format.pixel_aspect,
        longest_side=max(found.width, found.height),
    )
    shown = original.window
    if abs(found.width - width) > 1 or abs(found.height - height) > 1:
        raise PlateError(
            f"Expected model images of {width} x {height} pixels for a window of {shown.width} x "
            f"{shown.height} with pixel aspect {original.format.pixel_aspect:g}, found "
            f"{found.width} x {found.height} in {path.name}. Render them with square pixels, never "
            "larger than the plate.",
            path=path,
        )
    if settings.exposure or settings.colorspace or settings.display or settings.view:
        raise PlateError(
            f"{path.name} is made of model images, whose colour is settled: leave out colour "
            "space, display, view and exposure, or apply them when the pictures are made.",
            path=path,
        )


def _sample(source: _Source, *, window: Box) -> Iterator[np.ndarray]:
    """Every eighth pixel of the first, middle and last frame found, whatever the range.

    The exposure of a shot must not depend on how it is cut into ranges.
    """
    frames = source.frames
    for frame in sorted({frames[0], frames[len(frames) // 2], frames[-1]}):
        yield source.pixels(frame, window=window)[1][::8, ::8].copy()


def _model_size(window: Box, *, pixel_aspect: float, longest_side: int) -> tuple[int, int]:
    """(H, W) of the model image: square pixels, widened rather than shrunk, then fitted."""
    width = window.width * max(pixel_aspect, 1.0)
    height = window.height / min(pixel_aspect, 1.0)
    scale = min(1.0, longest_side / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resample(pixels: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Fit a picture to a size and quantise it.

    Each axis is averaged over the area of the new pixel where it shrinks and interpolated
    linearly where it grows; the picture's edges map to the edges.

    Args:
        pixels: (H, W, 3) float32, 0..1.
        size: (H, W) wanted.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    height, width = size
    for target in ((width, pixels.shape[0]), (width, height)):
        if target != (pixels.shape[1], pixels.shape[0]):
            shrinks = target[0] <= pixels.shape[1] and target[1] <= pixels.shape[0]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, target, interpolation=how)
    quantised: np.ndarray = np.rint(pixels * np.float32(255.0)).astype(np.uint8)
    return quantised


def _as_list(window: Box) -> list[int]:
    return [window.x0, window.y0, window.x1, window.y1]
