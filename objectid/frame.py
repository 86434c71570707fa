"""One frame of ObjectId samples: from coverages to samples, and between memory and file.

The alpha of a sample is *over-encoded*: with coverages c_1 … c_n of a pixel in ascending id and
their sum at most 1,

    A_k = c_k / R_k,    R_1 = 1,    R_(k+1) = R_k (1 - A_k)

with the A as they are stored, in half. Any tool that composites with over then gets the coverages
back, c_k = A_k R_k, and the rounding of one sample is made up for by the next.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray

from objectid.deepscanline import LARGEST_BYTES, DeepImage, decode_deep, encode_deep, is_read_here
from objectid.errors import (
    DamagedFileError,
    ManifestError,
    RequestError,
    StorageError,
    UnsupportedFileError,
)
from objectid.fallback import rewritten
from objectid.header import FLAG_DEEP, FLAG_MULTIPART, Attribute, Header, Window, parse_header
from objectid.ids import LARGEST_ID, check_name, object_colour
from objectid.manifest import (
    ALPHA_ATTRIBUTE,
    ID_MANIFEST_ATTRIBUTE,
    MANIFEST_ATTRIBUTE,
    Manifest,
    header_manifest,
)
from objectid.sequence import write_atomically

AlphaMode = Literal["over", "coverage"]
Alpha = Union[NDArray[np.float16], NDArray[np.float32]]

SMALLEST_COVERAGE = 1 / 512
"""Coverage below which a sample is not stored; half of an 8-bit step."""
ID_CHANNELS = ("id", "Id", "objectid.id", "other.id")
"""Names under which ids are looked for, first found first taken."""


_HALF_ONE = 0x3C00
"""The bits of 1.0 as half; all others that stand for 0..1 are smaller numbers."""


class Crop(NamedTuple):
    """The coverage of one object, on the plate's pixel grid."""

    y0: int
    """First row."""
    x0: int
    """First column."""
    coverage: NDArray[np.float32]
    """(h, w) share of each pixel that the object covers, 0..1."""


@dataclass(frozen=True, eq=False)
class DeepFrame:
    """The samples of one frame: left to right, top to bottom, in the order they composite."""

    counts: NDArray[np.int32]
    """(H, W) samples of each pixel of the data window."""
    ids: NDArray[np.uint32]
    """(S,) object id of each sample; 0 is nothing."""
    alpha: Alpha
    """(S,) float16 or float32, 0..1: what ``alpha_mode`` says."""
    data_window: Window
    display_window: Window
    pixel_aspect: float = 1.0
    """Width of a pixel over its height."""
    alpha_mode: AlphaMode = "over"
    """``over``: alphas composite to coverages. ``coverage``: they are coverages."""

    def __post_init__(self) -> None:
        expected = (self.data_window.height, self.data_window.width)
        if self.counts.shape != expected or self.counts.dtype != np.int32:
            raise RequestError(
                f"Expected counts (H, W) = {expected} of int32, got {self.counts.shape} of "
                f"{self.counts.dtype}."
            )
        total = int(self.counts.sum(dtype=np.int64))
        if self.ids.shape != (total,) or self.ids.dtype != np.uint32:
            raise RequestError(
                f"Expected {total} ids of uint32, got {self.ids.shape} of {self.ids.dtype}."
            )
        if self.alpha.shape != (total,) or self.alpha.dtype not in (np.float16, np.float32):
            raise RequestError(
                f"Expected {total} alphas of float16 or float32, got {self.alpha.shape} of "
                f"{self.alpha.dtype}."
            )
        if self.alpha_mode not in ("over", "coverage"):
            raise RequestError(f"Alpha mode is 'over' or 'coverage', not {self.alpha_mode!r}.")

    @property
    def present(self) -> tuple[int, ...]:
        """Ids that have a sample, ascending, without 0."""
        return tuple(int(number) for number in _distinct(self.ids) if number)

    def visible(self) -> NDArray[np.float32]:
        """(S,) what each sample contributes to its pixel, 0..1: the coverage of its object."""
        alpha = self.alpha.astype(np.float32)
        np.clip(alpha, 0, 1, out=alpha)
        if self.alpha_mode == "coverage":
            return alpha
        counts = self.counts.ravel()
        at = np.flatnonzero(counts > 1)
        start, left = first_samples(counts)[at], counts[at]
        remainder = 1 - alpha[start]
        for rank in range(1, int(counts.max(initial=0))):
            deeper = left > rank
            start, left, remainder = start[deeper], left[deeper], remainder[deeper]
            own = alpha[start + rank]
            alpha[start + rank] = own * remainder
            remainder *= 1 - own
        return alpha


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame made from coverages, and what had to be done to them."""

    frame: DeepFrame
    normalised_pixels: int
    """Pixels whose coverages added up to more than 1 and were divided by their sum."""
    largest_sum: float
    """The greatest sum found."""


@dataclass(frozen=True, eq=False)
class FrameFile:
    """What a file holds."""

    frame: DeepFrame
    manifest: Manifest
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Text attributes that are not part of the format: where the file comes from."""


def encode_coverages(
    crops: Sequence[Crop | tuple[int, int, NDArray[np.float32]]],
    *,
    ids: Sequence[int],
    display_window: Window | tuple[int, int, int, int],
    pixel_aspect: float = 1.0,
    alpha_mode: AlphaMode = "over",
    smallest_coverage: float = SMALLEST_COVERAGE,
) -> EncodedFrame:
    """Samples of a frame from one coverage per object.

    Args:
        crops: ``(y0, x0, coverage)`` per object, coverage (h, w) float32 within 0..1; crops may
            overlap and may reach out of the display window.
        ids: the object's id for each crop, distinct, 1..LARGEST_ID.
        display_window: the plate's, ends exclusive.
        pixel_aspect: the plate's.
        alpha_mode: ``over``, or ``coverage`` to store coverages as they are.
        smallest_coverage: samples at or below it are left out.

    Returns:
        The frame; its data window is the box of non-empty pixels and one pixel around it, or one
        pixel without a sample.

    Raises:
        RequestError: an id or a crop is not as described.
    """
    if len(crops) != len(ids) or len(set(ids)) != len(ids):
        raise RequestError(f"Expected one distinct id per crop, got {len(ids)} for {len(crops)}.")
    display = Window(*display_window)
    ordered = [
        _checked(number, Crop(*crop), smallest_coverage)
        for number, crop in sorted(zip(ids, crops), key=lambda pair: pair[0])
    ]
    objects = [item for item in ordered if item is not None]
    window = _window_around(objects, display)
    shape = (window.height, window.width)
    counts = np.zeros(shape, np.int32)
    total = np.zeros(shape, np.float32)
    for item in objects:
        area = item.area(window)
        counts[area] += item.hit
        total[area] += item.coverage
    largest = float(total.max(initial=0))
    normalised = int(np.count_nonzero(total > 1 + 1 / 1024))
    divide = largest > 1 and alpha_mode == "over"
    np.maximum(total, 1, out=total)
    position = first_samples(counts.ravel()).reshape(shape)
    samples = int(counts.sum(dtype=np.int64))
    sample_ids = np.empty(samples, np.uint32)
    alpha = np.empty(samples, np.float16)
    remainder = np.ones(shape, np.float32)
    for item in objects:
        area, hit = item.area(window), item.hit
        coverage = item.coverage[hit]
        if divide:
            coverage = coverage / total[area][hit]
        if alpha_mode == "over":
            left = remainder[area][hit]
            own = np.divide(coverage, left, out=np.ones_like(left), where=left > coverage)
            stored = own.astype(np.float16)
            remainder[area][hit] = left * (1 - stored.astype(np.float32))
        else:
            stored = coverage.astype(np.float16)
        places = position[area][hit]
        sample_ids[places] = item.id
        alpha[places] = stored
        position[area] += hit
    frame = DeepFrame(counts, sample_ids, alpha, window, display, float(pixel_aspect), alpha_mode)
    return EncodedFrame(frame, normalised if divide else 0, largest)


def first_samples(counts: NDArray[np.int32]) -> NDArray[Any]:
    """(P,) index of the first sample of each pixel, from (P,) samples per pixel."""
    wide = int(counts.sum(dtype=np.int64)) > np.iinfo(np.int32).max
    index: NDArray[Any] = np.cumsum(counts, dtype=np.int64 if wide else np.int32)
    np.subtract(index, counts, out=index)
    return index


def decode_coverages(frame: DeepFrame) -> Iterator[tuple[int, Crop]]:
    """The coverage of every object of a frame, by ascending id.

    Samples of one object in one pixel are added up, at most to 1.
    """
    visible = frame.visible()
    pixels = np.repeat(np.arange(frame.counts.size, dtype=np.int64), frame.counts.ravel())
    order = np.argsort(frame.ids, kind="stable")
    ids = frame.ids[order]
    numbers, starts = np.unique(ids, return_index=True)
    ends = [*starts[1:].tolist(), ids.size]
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends):
        if not number:
            continue
        own = order[start:end]
        rows, columns = np.divmod(pixels[own], frame.data_window.width)
        top, left = int(rows.min()), int(columns.min())
        shape = (int(rows.max()) - top + 1, int(columns.max()) - left + 1)
        flat = (rows - top) * shape[1] + (columns - left)
        sums = np.bincount(flat, weights=visible[own], minlength=shape[0] * shape[1])
        coverage = np.minimum(sums, 1).astype(np.float32).reshape(shape)
        yield number, Crop(frame.data_window.y0 + top, frame.data_window.x0 + left, coverage)


def tidied(frame: DeepFrame) -> DeepFrame:
    """The frame with ascending, distinct ids in each pixel and alphas in half.

    Files of this package are tidy already and come back as they are. Of others, samples of one
    object in one pixel become one, samples of id 0 go.
    """
    alpha = frame.alpha
    halves = alpha.dtype == np.float16
    if halves and int(alpha.view(np.uint16).max(initial=0)) <= _HALF_ONE and _is_tidy(frame):
        return frame
    pairs = list(decode_coverages(frame))
    return encode_coverages(
        [crop for _, crop in pairs],
        ids=[number for number, _ in pairs],
        display_window=frame.display_window,
        pixel_aspect=frame.pixel_aspect,
        alpha_mode=frame.alpha_mode,
        smallest_coverage=0.0,
    ).frame


def write_frame(
    path: str | Path,
    frame: DeepFrame,
    *,
    manifest: Manifest | Mapping[str, int],
    colours: Literal["names", "white"] = "names",
    attributes: Mapping[str, str] | None = None,
) -> None:
    """The frame as a file, complete or not at all.

    Args:
        path: the file; its folder is made if it is missing.
        frame: ids ascending and distinct in each pixel, as ``encode_coverages`` makes them.
        manifest: name → id of all objects of the shot.
        colours: ``names`` draws each object in the colour of its name, ``white`` all alike.
        attributes: further texts for the header, such as where the file comes from.

    Raises:
        RequestError: the samples are not in order, or a name is malformed.
        ManifestError: a sample has an id without a name.
        StorageError: the file cannot be written.
    """
    parts = encode_frame(frame, manifest=manifest, colours=colours, attributes=attributes)
    try:
        write_atomically(Path(path), parts)
    except (ManifestError, RequestError) as error:
        raise type(error)(error.reason, path=path) from error


def encode_frame(
    frame: DeepFrame,
    *,
    manifest: Manifest | Mapping[str, int],
    colours: Literal["names", "white"] = "names",
    attributes: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The bytes of a file, piece by piece; everything as in ``write_frame``."""
    table = manifest if isinstance(manifest, Manifest) else Manifest(dict(manifest))
    present = frame.present
    names = table.names
    for name in table.ids:
        check_name(name)
    unknown = [number for number in present if number not in names]
    if unknown:
        raise ManifestError(f"Samples have id {unknown[0]}, which the manifest does not name.")
    if not _is_tidy(frame):
        raise RequestError(
            "The samples of a pixel need ascending, distinct ids within "
            f"1..{LARGEST_ID}; see 'tidied'."
        )
    alpha = frame.alpha.astype(np.float16, copy=False)
    if int(alpha.view(np.uint16).max(initial=0)) > _HALF_ONE:
        raise RequestError("Alphas lie within 0..1; see 'tidied'.")
    channels: dict[str, NDArray[Any]] = {
        "A": alpha,
        "Z": frame.ids.astype(np.float32),
        "id": frame.ids,
    }
    if colours == "white":
        channels.update(dict.fromkeys("RGB", alpha))
    else:
        channels.update(zip("RGB", _premultiplied(frame.ids, alpha, present, names)))
    header = {name: Attribute.of_text(text) for name, text in (attributes or {}).items()}
    header.update(table.with_frame(present).attributes())
    header[ALPHA_ATTRIBUTE] = Attribute.of_text(frame.alpha_mode)
    yield from encode_deep(
        DeepImage(frame.counts, channels, frame.data_window),
        display_window=frame.display_window,
        pixel_aspect=frame.pixel_aspect,
        attributes=header,
    )


def read_frame(
    path: str | Path,
    *,
    names: Manifest | None = None,
    largest_bytes: int = LARGEST_BYTES,
    lenient: bool = False,
) -> FrameFile:
    """A frame of object ids from a file written by this package or by another program.

    Args:
        path: a deep EXR file.
        names: the manifest of a file that has none, such as a sidecar's.
        largest_bytes: refuse files whose samples, or a matte of them, need more memory.
        lenient: accept a manifest that lists ids for this frame which no sample has, as in files
            that another program has cropped.

    Returns:
        Samples, names and texts. A file without any manifest has an empty one. Tiles, several
        parts and ZSTD are read through the OpenEXR package.

    Raises:
        DamagedFileError: the file is cut off or contradicts itself.
        UnsupportedFileError: no deep file with ids, or ids written at 16 bit.
        ManifestError: the names cannot be read or contradict the samples.
        StorageError: the file cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"Cannot be read: {error.strerror or error}.", path=path) from error
    header = parse_header(io.BytesIO(data), size_bytes=len(data), path=path)
    if _may_be_read_elsewhere(header):
        window = header.window("dataWindow")
        if 4 * window.width * window.height > largest_bytes:
            raise UnsupportedFileError(f"Needs more than {largest_bytes} bytes.", path=path)
        data = rewritten(path, largest_bytes=largest_bytes)
    return decode_frame(data, path=path, names=names, largest_bytes=largest_bytes, lenient=lenient)


def decode_frame(
    data: bytes,
    *,
    path: Path | None = None,
    names: Manifest | None = None,
    largest_bytes: int = LARGEST_BYTES,
    lenient: bool = False,
) -> FrameFile:
    """A frame from the bytes of a file; everything as in ``read_frame``."""
    header, image = decode_deep(data, path=path, largest_bytes=largest_bytes)
    manifest = header_manifest(header) or names or Manifest({})
    frame = _frame(header, image, largest_bytes)
    if manifest.frame is not None and not lenient:
        missing = set(manifest.frame) - set(frame.present)
        if missing:
            raise ManifestError(
                f"The manifest lists id {min(missing)} for this frame, but no sample has it. If "
                "another program has cropped the file, read it leniently.",
                path=path,
            )
    texts = {
        name: attribute.payload.decode("utf-8", "backslashreplace")
        for name, attribute in header.attributes.items()
        if attribute.type == "string" and name not in _OWN_TEXTS
    }
    return FrameFile(frame, manifest, texts)


def _may_be_read_elsewhere(header: Header) -> bool:
    deep = header.flags & (FLAG_DEEP | FLAG_MULTIPART)
    return bool(deep) and not is_read_here(header)


_OWN_TEXTS = frozenset(
    ("type", "EXRIdNames", MANIFEST_ATTRIBUTE, ID_MANIFEST_ATTRIBUTE, ALPHA_ATTRIBUTE)
)


def _frame(header: Header, image: DeepImage, largest_bytes: int) -> DeepFrame:
    path = header.path
    channels = image.channels
    name = next((name for name in ID_CHANNELS if name in channels), None)
    if name is None or "A" not in channels:
        raise UnsupportedFileError(
            f"Has channels {', '.join(sorted(channels))}; expected 'A' and one of "
            f"{', '.join(ID_CHANNELS)}.",
            path=path,
        )
    ids = _whole_ids(channels[name], name, path)
    alpha = channels["A"]
    if alpha.dtype not in (np.float16, np.float32):
        raise UnsupportedFileError("Channel 'A' is not half or float.", path=path)
    if not np.isfinite(alpha).all():
        raise DamagedFileError("Channel 'A' holds values that are no numbers.", path=path)
    mode = header.text(ALPHA_ATTRIBUTE) or "over"
    if mode not in ("over", "coverage"):
        raise UnsupportedFileError(f"Its alphas mean {mode!r}, which is unknown here.", path=path)
    order = _order_by_depth(image, path) if "Z" in channels else None
    if order is not None:
        ids, alpha = ids[order], alpha[order]
    aspect = header.number("pixelAspectRatio")
    display = header.window("displayWindow")
    if 4 * display.width * display.height > largest_bytes:
        raise UnsupportedFileError(
            f"A matte of its display window {tuple(display)} needs more than {largest_bytes} "
            "bytes of memory.",
            path=path,
        )
    return DeepFrame(
        image.counts,
        ids,
        alpha,
        image.data_window,
        display,
        1.0 if aspect is None else float(aspect),
        "coverage" if mode == "coverage" else "over",
    )


def _whole_ids(values: NDArray[Any], name: str, path: Path | None) -> NDArray[np.uint32]:
    whole: NDArray[np.uint32]
    if values.dtype == np.uint32:
        whole = values
        return whole
    if values.dtype == np.float16 or not np.isfinite(values).all():
        raise UnsupportedFileError(
            f"Channel '{name}' was written at 16 bit, which cannot hold object ids. Write the "
            "file again with 32 bit.",
            path=path,
        )
    if values.size and 0 < float(values.max()) < 1:
        values = values * np.float32(2**32)  # OpenImageIO turns uint into shares of its range
    ids = np.rint(values)
    if ids.size and (ids.min() < 0 or ids.max() > LARGEST_ID or (ids != values).any()):
        raise UnsupportedFileError(
            f"Channel '{name}' holds numbers that are no object ids. It must not be filtered, "
            "premultiplied or colour-managed.",
            path=path,
        )
    whole = ids.astype(np.uint32)
    return whole


def _order_by_depth(image: DeepImage, path: Path | None) -> NDArray[np.int64] | None:
    """The order in which samples composite, or nothing where they already stand in it."""
    depth = image.channels["Z"]
    if depth.dtype == np.uint32 or np.isnan(depth).any():
        raise DamagedFileError("Channel 'Z' holds values that are no numbers.", path=path)
    if _rises(depth, image.counts, strictly=False):
        return None
    pixels = np.repeat(np.arange(image.counts.size), image.counts.ravel())
    return np.lexsort((depth, pixels))


def _rises(values: NDArray[Any], counts: NDArray[np.int32], *, strictly: bool) -> bool:
    """Whether the values of the samples of each pixel rise, or at least do not fall."""
    flat = counts.ravel()
    shared = np.flatnonzero(flat > 1)
    left = flat[shared]
    start = first_samples(flat)[shared]
    for rank in range(1, int(flat.max(initial=0))):
        deeper = left > rank
        start, left = start[deeper], left[deeper]
        before, behind = values[start + rank - 1], values[start + rank]
        if not (behind > before if strictly else behind >= before).all():
            return False
    return True


def _is_tidy(frame: DeepFrame) -> bool:
    ids = frame.ids
    if not ids.size:
        return True
    if not 1 <= int(ids.min()) <= int(ids.max()) <= LARGEST_ID:
        return False
    return _rises(ids, frame.counts, strictly=True)


def _premultiplied(
    ids: NDArray[np.uint32],
    alpha: NDArray[np.float16],
    present: Sequence[int],
    names: Mapping[int, str],
) -> Iterable[NDArray[np.float16]]:
    """Red, green and blue of all samples."""
    # A half within 0..1 is one of 0x3C01 numbers: multiply each once, then look them up.
    numbers = np.arange(_HALF_ONE + 1, dtype=np.uint16).view(np.float16).astype(np.float32)
    rows = np.zeros(int(ids.max(initial=0)) + 1, np.intp)
    rows[np.asarray(present, np.int64)] = np.arange(len(present)) * numbers.size
    place = rows[ids]
    place += alpha.view(np.uint16)
    colours = np.array([object_colour(names[number]) for number in present] or [(0, 0, 0)])
    for column in colours.T.astype(np.float32):
        yield np.multiply.outer(column, numbers).astype(np.float16).ravel()[place]


def _distinct(ids: NDArray[np.uint32]) -> list[int]:
    """The ids there are, ascending; most neighbours are alike, so only changes are looked at."""
    changes = np.flatnonzero(ids[1:] != ids[:-1])
    found = np.concatenate((ids[:1], ids[1:][changes]))
    largest = int(found.max(initial=0))
    if largest > LARGEST_ID:
        return [int(number) for number in np.unique(found)]
    seen = np.zeros(largest + 1, np.bool_)
    seen[found] = True
    return [int(number) for number in np.flatnonzero(seen)]


class _Object(NamedTuple):
    id: int
    y0: int
    x0: int
    coverage: NDArray[np.float32]
    hit: NDArray[np.bool_]

    def area(self, window: Window) -> tuple[slice, slice]:
        top, left = self.y0 - window.y0, self.x0 - window.x0
        height, width = self.hit.shape
        return slice(top, top + height), slice(left, left + width)


def _checked(number: int, crop: Crop, smallest: float) -> _Object | None:
    """An object, cut to its non-empty pixels; nothing if there is none."""
    if not 1 <= number <= LARGEST_ID:
        raise RequestError(f"Object id {number} is not within 1..{LARGEST_ID}.")
    coverage = np.asarray(crop.coverage)
    if coverage.ndim != 2 or coverage.dtype != np.float32:
        raise RequestError(
            f"Expected coverage (h, w) of float32 for id {number}, got {coverage.shape} of "
            f"{coverage.dtype}."
        )
    if not coverage.size:
        return None
    low, high = float(coverage.min()), float(coverage.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise RequestError(f"Coverage of id {number} lies within {low}..{high}, not 0..1.")
    hit = coverage > smallest
    rows, columns = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
    if not rows.size:
        return None
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    hit = hit[cut]
    own = np.where(hit, np.minimum(coverage[cut], 1), np.float32(0))
    return _Object(number, crop.y0 + int(rows[0]), crop.x0 + int(columns[0]), own, hit)


def _window_around(objects: Sequence[_Object], display: Window) -> Window:
    if not objects:
        return Window(display.x0, display.y0, display.x0 + 1, display.y0 + 1)
    return Window(
        min(item.x0 for item in objects) - 1,
        min(item.y0 for item in objects) - 1,
        max(item.x0 + item.hit.shape[1] for item in objects) + 1,
        max(item.y0 + item.hit.shape[0] for item in objects) + 1,
    )
