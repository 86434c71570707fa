"""Deep files that our codec does not read: tiles, several parts, ZSTD.

A child process reads them through the ``OpenEXR`` package, which must be installed, and writes the
pixels again as a plain deep scanline file. The child has a memory limit and a time limit, because
the package makes an object per pixel and is not ours to harden; if it dies, only the child does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from objectid.deepscanline import DeepImage, encode_deep
from objectid.errors import DamagedFileError, ObjectIdError, StorageError, UnsupportedFileError
from objectid.header import Attribute, Window
from objectid.idmanifest import ChannelGroup, encode_id_manifest
from objectid.manifest import ID_MANIFEST_ATTRIBUTE
from objectid.sequence import write_atomically

_MEMORY_BYTES = 4 << 30
_MEMORY_PER_BYTE = 6
"""What the child may take: so much, and so much per decoded byte that the caller allows."""
_TIMEOUT_SECONDS = 600
_NO_PACKAGE, _NOT_DEEP, _UNREADABLE = 3, 4, 5


def rewritten(path: Path, *, largest_bytes: int) -> bytes:
    """The file's deep part as the bytes of a ZIPS deep scanline file.

    Args:
        path: a deep EXR file of any kind that the OpenEXR package reads.
        largest_bytes: refuse a file that takes more when rewritten.

    Raises:
        UnsupportedFileError: the package is not installed, or no part is deep.
        DamagedFileError: the package cannot read the file.
    """
    with tempfile.TemporaryDirectory(prefix="objectid-") as folder:
        target = Path(folder) / "deep.exr"
        root = str(Path(__file__).resolve().parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
        memory_bytes = _MEMORY_BYTES + _MEMORY_PER_BYTE * largest_bytes
        command = [sys.executable, "-m", "objectid.fallback", str(path), str(target)]
        command.append(str(memory_bytes))
        try:
            child = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DamagedFileError(
                f"The OpenEXR package did not finish within {_TIMEOUT_SECONDS} seconds.", path=path
            ) from None
        except OSError as error:
            raise StorageError(f"No child process for the reader: {error}.", path=path) from error
        if child.returncode == _NO_PACKAGE:
            raise UnsupportedFileError(
                "Is tiled, has several parts or another compression than ZIPS, RLE and none; the "
                "'OpenEXR' package reads such files: pip install OpenEXR.",
                path=path,
            )
        if child.returncode == _NOT_DEEP:
            raise UnsupportedFileError("Has no deep part.", path=path)
        if child.returncode:
            said = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise DamagedFileError(
                f"The OpenEXR package cannot read it: {''.join(said) or 'it crashed'}", path=path
            )
        if target.stat().st_size > largest_bytes:
            raise UnsupportedFileError(f"Needs more than {largest_bytes} bytes.", path=path)
        return target.read_bytes()


def main(source: str, target: str, memory_bytes: int) -> int:
    """What the child does; the exit code tells the parent what happened."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    try:
        import OpenEXR
    except ImportError:
        return _NO_PACKAGE
    try:
        file = OpenEXR.File(source, separate_channels=True)
        deep = [part for part in file.parts if str(part.type()).lower().find("deep") >= 0]
        if not deep and file.parts and all(part.channels for part in file.parts):
            return _NOT_DEEP
        if not deep:
            raise ValueError("no part of it is readable")
        _rewrite(deep[0], Path(target))
    except (RuntimeError, ValueError, TypeError, MemoryError, ObjectIdError) as error:
        print(str(error) or type(error).__name__, file=sys.stderr)  # noqa: T201 - to the parent
        return _UNREADABLE
    return 0


def _rewrite(part: Any, target: Path) -> None:
    header: Mapping[str, Any] = part.header
    window = _window(header["dataWindow"])
    shape = (window.height, window.width)
    counts = np.zeros(shape[0] * shape[1], np.int32)
    channels: dict[str, Any] = {}
    for name, channel in part.channels.items():
        found = [None if p is None or not len(p) else p for p in channel.pixels.ravel()]
        counts[:] = [0 if p is None else len(p) for p in found]
        parts = [p for p in found if p is not None]
        channels[name] = np.concatenate(parts) if parts else None
    channels = {
        name: np.zeros(0, np.uint32 if name.lower().endswith("id") else np.float32)
        if samples is None
        else samples
        for name, samples in channels.items()
    }
    texts = {
        name: Attribute.of_text(value) for name, value in header.items() if isinstance(value, str)
    }
    for name, value in header.items():
        if name.startswith("objectid/") and isinstance(value, int):
            texts[name] = Attribute.of_int(value)
    texts.update(_id_manifest(header))
    write_atomically(
        target,
        encode_deep(
            DeepImage(counts.reshape(shape), channels, window),
            display_window=_window(header["displayWindow"]),
            pixel_aspect=float(header.get("pixelAspectRatio", 1.0)),
            attributes=texts,
        ),
    )


def _id_manifest(header: Mapping[str, Any]) -> dict[str, Attribute]:
    standard = header.get(ID_MANIFEST_ATTRIBUTE)
    if standard is None or not standard.size():
        return {}
    group = standard[0]
    table = {int(entry.id()): tuple(entry.text()) for entry in group}
    ours = ChannelGroup(tuple(group.getChannels()), tuple(group.getComponents()), table)
    return {ID_MANIFEST_ATTRIBUTE: Attribute("idmanifest", encode_id_manifest(ours))}


def _window(box: Any) -> Window:
    (x0, y0), (x1, y1) = box
    return Window(int(x0), int(y0), int(x1) + 1, int(y1) + 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
