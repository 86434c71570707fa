"""The worked example of ``SPEC.md``: written again, taken apart, and compared.

``python -m tests.unit.objectid.test_spec`` puts the current dump into the document and the file
into ``tests/golden/objectid``.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import objectid
from tests.unit.objectid.hostile import small_file, small_frame

SPEC = Path(objectid.__file__).with_name("SPEC.md")
GOLDEN = Path(__file__).parents[2] / "golden" / "objectid" / "worked.exr"
MARKS = ("<!-- worked example -->\n```\n", "```\n<!-- end of worked example -->")
PIXEL_TYPES = ("UINT", "HALF", "FLOAT")


def fields(data: bytes) -> Iterator[tuple[int, bytes, str]]:
    """Offset, bytes and meaning of everything in a file, told apart without our reader."""

    def take(length: int, meaning: str) -> tuple[int, bytes, str]:
        nonlocal position
        start, position = position, position + length
        return start, data[start:position], meaning

    position = 0
    yield take(4, "magic number 20000630")
    yield take(4, "version 2, flag 0x800: deep")
    while data[position]:
        name = data[position : data.index(b"\0", position)].decode()
        begin = position + len(name) + 1
        kind = data[begin : data.index(b"\0", begin)].decode()
        yield take(len(name) + 1, f"attribute '{name}'")
        yield take(len(kind) + 1, f"type '{kind}'")
        (length,) = struct.unpack_from("<i", data, position)
        yield take(4, f"{length} bytes")
        if kind == "chlist":
            while data[position]:
                channel = data[position : data.index(b"\0", position)].decode()
                code = data[position + len(channel) + 1]
                yield take(len(channel) + 17, f"channel '{channel}', {PIXEL_TYPES[code]}")
            yield take(1, "end of the channels")
        else:
            yield take(length, meaning_of(kind, data[position : position + length]))
    yield take(1, "end of the header")
    rows = 2
    offsets = struct.unpack_from(f"<{rows}Q", data, position)
    for row in range(rows):
        yield take(8, f"line {row} begins at {offsets[row]:#x}")
    for row in range(rows):
        counts_bytes, data_bytes, unpacked = struct.unpack_from("<QQQ", data, position + 4)
        yield take(4, f"y = {row}")
        yield take(8, f"counts: {counts_bytes} bytes packed")
        yield take(8, f"samples: {data_bytes} bytes packed")
        yield take(8, f"samples: {unpacked} bytes unpacked")
        yield take(counts_bytes, counts_meaning(data[position : position + counts_bytes]))
        if data_bytes:
            kind = "as they are" if data_bytes == unpacked else "packed"
            yield take(data_bytes, f"A, B, G, R, Z, id of all samples, {kind}")
    assert position == len(data)


def meaning_of(kind: str, value: bytes) -> str:
    """A value of an attribute in words."""
    if kind == "int":
        return str(struct.unpack("<i", value)[0])
    if kind == "float":
        return f"{struct.unpack('<f', value)[0]:g}"
    if kind == "box2i":
        return "({} {}) - ({} {}), ends included".format(*struct.unpack("<4i", value))
    if kind == "string":
        return value.decode()
    return {"compression": "ZIPS", "lineOrder": "increasing y", "v2f": "0 0"}.get(
        kind, "u64 size, zlib data"
    )


def counts_meaning(packed: bytes) -> str:
    """The running counts of a line of four pixels in words."""
    if len(packed) == 16:
        return f"running counts {' '.join(map(str, struct.unpack('<4i', packed)))}, as they are"
    return "running counts, packed: " + " ".join(map(str, struct.unpack("<4i", unpacked(packed))))


def unpacked(packed: bytes) -> bytes:
    """ZIPS undone byte by byte, as ``SPEC.md`` says it."""
    values = bytearray(zlib.decompress(packed))
    for index in range(1, len(values)):
        values[index] = (values[index - 1] + values[index] - 128) % 256
    half = (len(values) + 1) // 2
    out = bytearray(len(values))
    out[0::2], out[1::2] = values[:half], values[half:]
    return bytes(out)


def dump(data: bytes) -> str:
    """The file as annotated lines."""
    lines = []
    for start, value, meaning in fields(data):
        for offset in range(0, len(value), 16):
            piece = value[offset : offset + 16].hex(" ")
            lines.append(f"{start + offset:04x}  {piece:<47}  {meaning}".rstrip())
            meaning = ""
    return "\n".join(lines) + "\n"


def parts() -> tuple[str, str, str]:
    """What stands before the dump, the dump, and what stands behind it."""
    text = SPEC.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    inside, _, after = rest.partition(MARKS[1])
    return before, inside, after


def test_the_dump_in_the_document_is_the_file_we_write():
    assert parts()[1] == dump(small_file())


def test_the_golden_file_is_the_file_we_write_and_is_read():
    data = GOLDEN.read_bytes()
    file = objectid.read_frame(GOLDEN)

    assert data == small_file()
    assert file.manifest.ids == {"/a": 5, "/b": 9}
    assert file.frame.counts.tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]
    assert objectid.pick(file.frame, [5]).tolist() == [[0, 1, 0.5, 0], [0, 0, 0, 0]]
    assert objectid.pick(file.frame, [9]).tolist() == [[0, 0, 0.125, 0], [0, 0, 0, 0]]


def test_a_reader_made_from_the_document_finds_the_samples():
    texts = {meaning: value for _, value, meaning in fields(small_file())}
    samples = next(value for meaning, value in texts.items() if meaning.startswith("A, B, G"))
    raw = samples if meaning_is_raw(texts) else unpacked(samples)

    alpha = np.frombuffer(raw[:6], "<f2")
    depth = np.frombuffer(raw[24:36], "<f4")
    ids = np.frombuffer(raw[36:48], "<u4")

    assert alpha.tolist() == small_frame().alpha.tolist()
    assert ids.tolist() == depth.tolist() == small_frame().ids.tolist()


def meaning_is_raw(texts: dict[str, bytes]) -> bool:
    return any(m.startswith("A, B, G") and m.endswith("as they are") for m in texts)


def test_every_example_of_json_in_the_document_is_a_manifest():
    found = re.findall(r"```json\n(.*?)```", SPEC.read_text(encoding="utf-8"), re.DOTALL)

    assert found
    for text in found:
        content = json.loads(text)
        assert objectid.Manifest.from_json(text).ids == content["ids"]
        if "objects" in content:
            assert objectid.Sidecar.from_json(text).ids == content["ids"]


@pytest.mark.parametrize(
    ("name", "number"), [("/person/person_01", 14113453), ("/人/人_01", None), ("/hero", 707739)]
)
def test_the_ids_in_the_document_are_right(name, number):
    number = objectid.object_id(name) if number is None else number

    assert objectid.object_id(name) == number
    assert f"`{name}` | {number}" in SPEC.read_text(encoding="utf-8")


def main() -> None:
    """Write the dump and the golden file again."""
    before, _, after = parts()
    text = before + MARKS[0] + dump(small_file()) + MARKS[1] + after
    SPEC.write_text(text, encoding="utf-8")
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_bytes(small_file())


if __name__ == "__main__":
    main()
