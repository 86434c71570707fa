"""A movie file as a plate, decoded by the FFmpeg inside OpenCV (LGPL build, no extra package).

The decoder delivers 8-bit pictures, which is what models see anyway, and takes streams that do not
say their YCbCr coefficients for Rec.601. Frames are numbered from 1, as Nuke numbers movies, unless
the user says otherwise.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import PlateError
from server.frames.images import Box, Picture, PlateFormat

_BLOCK_SIZE = 16
"""Frames decoded and kept when a movie is read backwards."""


class Movie:
    """Pictures of a movie by frame number; safe to share between threads."""

    reads_in_order = True

    def __init__(self, path: Path, *, first_frame: int, pixel_aspect: float | None) -> None:
        """Open a movie.

        Raises:
            PlateError: the file cannot be decoded.
        """
        self.name = path.name
        self.example = path
        self._path = path
        self._first = first_frame
        self._lock = threading.Lock()
        self._cv2 = _opencv()
        self._capture = self._open()
        self._next = 0
        self._block: dict[int, np.ndarray] = {}
        count = self._property(self._cv2.CAP_PROP_FRAME_COUNT)
        width = int(self._property(self._cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._property(self._cv2.CAP_PROP_FRAME_HEIGHT))
        if not (0 < count < 1e7 and width > 0 and height > 0):
            raise self._error("has no readable pictures", frame=first_frame)
        self.frames = list(range(first_frame, first_frame + int(count)))
        window = Box(0, 0, width, height)
        self._picture = Picture(
            format=PlateFormat(
                display_window=window,
                data_window=window,
                pixel_aspect=pixel_aspect or self._stored_pixel_aspect(),
            ),
            part=0,
            part_name="",
            channels=("R", "G", "B"),
            channel_indices=(0, 1, 2),
            is_float=False,
        )

    def header(self, frame: int) -> Picture:
        """What the file says, the same for all frames."""
        return self._picture

    def pixels(self, frame: int, *, window: Box) -> tuple[Picture, np.ndarray]:
        """Decode one frame.

        Returns:
            The header and ``(window.height, window.width, 3)`` float32 R'G'B', 0..1.

        Raises:
            PlateError: the movie ends before this frame or is damaged there.
        """
        with self._lock:
            stored = self._decode(frame - self._first, frame=frame)
        pixels = stored[window.y0 : window.y1, window.x0 : window.x1, ::-1].astype(np.float32)
        pixels /= np.float32(255.0)
        return self._picture, np.ascontiguousarray(pixels)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._capture.release()
            self._block.clear()

    def _decode(self, index: int, *, frame: int) -> np.ndarray:
        """One picture, (H, W, 3) uint8 in the decoder's order blue, green, red."""
        if index in self._block:
            return self._block[index]
        self._block.clear()
        if index < self._next:
            # Going backwards: decode a block that ends here, so that each is decoded about twice
            # in a whole backward pass. The decoder only goes forward exactly from the beginning
            # or from where a seek is confirmed to have landed.
            start = max(0, index + 1 - _BLOCK_SIZE)
            self._seek(start, frame=frame)
            for number in range(start, index + 1):
                self._block[number] = self._retrieve(number, frame=frame)
            return self._block[index]
        while self._next < index:
            if not self._capture.grab():
                raise self._ended(frame)
            self._next += 1
        return self._retrieve(index, frame=frame)

    def _seek(self, index: int, *, frame: int) -> None:
        position = self._cv2.CAP_PROP_POS_FRAMES
        if index > 0 and self._capture.set(position, index):
            if round(self._property(position)) == index:
                self._next = index
                return
        self._capture.release()
        self._capture = self._open()
        self._next = 0
        while self._next < index:
            if not self._capture.grab():
                raise self._ended(frame)
            self._next += 1

    def _retrieve(self, index: int, *, frame: int) -> np.ndarray:
        decoded, picture = self._capture.read()
        if not decoded or picture is None:
            raise self._ended(frame)
        self._next = index + 1
        return np.asarray(picture)

    def _open(self) -> Any:
        capture = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise self._error("cannot be decoded as a movie", frame=self._first)
        return capture

    def _property(self, which: int) -> float:
        value = float(self._capture.get(which))
        return value if math.isfinite(value) else 0.0

    def _stored_pixel_aspect(self) -> float:
        numerator = self._property(self._cv2.CAP_PROP_SAR_NUM)
        denominator = self._property(self._cv2.CAP_PROP_SAR_DEN)
        return numerator / denominator if numerator > 0 and denominator > 0 else 1.0

    def _ended(self, frame: int) -> PlateError:
        last = self._first + self._next - 1
        return self._error(
            f"announces frame {frame} but can be decoded only to frame {last}", frame=frame
        )

    def _error(self, finding: str, *, frame: int) -> PlateError:
        return PlateError(
            f"Movie {self._path} {finding}. Expected a complete movie in a codec FFmpeg decodes; "
            "copy it again, or convert it to an image sequence.",
            path=self._path,
            frame=frame,
        )


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise PlateError(
            "Reading movies needs the package opencv-python-headless: install segmatte[server]."
        ) from error
    return cv2
