"""Files made to do harm: always an ``ObjectIdError`` with path and reason, bounded in all."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import objectid
from objectid.deepscanline import decode_deep
from objectid.frame import decode_frame, encode_frame
from objectid.header import Attribute, Window, encode_header
from tests.unit.objectid.drawn import encode, random_samples
from tests.unit.objectid.hostile import (
    LIMIT,
    bomb,
    damage,
    files,
    outcome,
    small_file,
    small_frame,
)
from tests.unit.objectid.test_reading import binding_file

PATH = Path("hostile.exr")
LINE = struct.Struct("<iQQQ")


def refused(data: bytes, reason: str, error=objectid.ObjectIdError, **options) -> None:
    options.setdefault("largest_bytes", LIMIT)
    with pytest.raises(error, match=reason) as caught:
        decode_frame(data, path=PATH, **options)
    assert caught.value.path == PATH
    assert caught.value.reason


@pytest.mark.parametrize("data", files(), ids=["small", "ours", "other", "rle", "none"])
def test_the_sound_files_are_read(data):
    assert outcome(data) == "frame"


@pytest.mark.parametrize("data", files(), ids=["small", "ours", "other", "rle", "none"])
def test_a_file_cut_off_anywhere_is_an_error(data):
    step = 1 if len(data) < 1500 else 7
    for length in [*range(0, len(data), step), len(data) - 1]:
        assert outcome(data[:length]) != "frame", length


def test_a_file_with_any_bit_turned_over_is_an_error_or_a_frame():
    data = small_file()
    seen = set()
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            seen.add(outcome(bytes(damaged)))

    assert {"frame", "DamagedFileError", "UnsupportedFileError", "ManifestError"} <= seen


@settings(max_examples=2000, deadline=None)
@given(st.sampled_from(range(5)), st.integers(0, 2**63))
def test_damaged_files_are_an_error_or_a_frame(kind, seed):
    outcome(damage(files()[kind], random.Random(seed)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_behind_a_magic_number_do_harm(data):
    assert outcome(data) != "frame"
    assert outcome(struct.pack("<II", 20000630, 0x802) + data) != "frame"


# --- claims ------------------------------------------------------------------------------------


def header(window: Window, **changes) -> bytes:
    attributes = {
        "channels": Attribute.of_channels({"A": "half", "id": "uint"}),
        "compression": Attribute("compression", b"\2"),
        "dataWindow": Attribute.of_window(window),
        "displayWindow": Attribute.of_window(window),
        "type": Attribute.of_text("deepscanline"),
        **changes,
    }
    return encode_header({k: v for k, v in attributes.items() if v is not None}, flags=0x800)


def deep_file(window: Window, lines, offsets=None, **changes) -> bytes:
    """A file of given chunks; offsets as they should be, or as given."""
    head = header(window, **changes)
    position = len(head) + 8 * window.height
    proper = []
    for line in lines:
        proper.append(position)
        position += len(line)
    table = struct.pack(f"<{window.height}Q", *(proper if offsets is None else offsets))
    return head + table + b"".join(lines)


def line(y: int, counts, raw: bytes, *, packed=None, unpacked=None) -> bytes:
    """A chunk whose counts are stored as they are."""
    stored = np.cumsum(counts, dtype=np.int64).astype("<i4").tobytes()
    packed = raw if packed is None else packed
    return LINE.pack(y, len(stored), len(packed), len(raw) if unpacked is None else unpacked) + (
        stored + packed
    )


ONE = Window(0, 0, 2, 1)
SAMPLE = struct.pack("<e", 0.5) + struct.pack("<I", 3)


def test_the_plain_file_these_tests_vary_is_sound():
    assert decode_frame(deep_file(ONE, [line(0, [1, 0], SAMPLE)])).frame.present == (3,)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (deep_file(ONE, [line(0, [1, -1], b"")]), "negative number"),
        (deep_file(ONE, [line(0, [-1, 2], SAMPLE)]), "negative number"),
        (deep_file(ONE, [line(0, [2, 0], SAMPLE)]), "promise 2 samples"),
        (deep_file(ONE, [line(0, [2**31 - 1, 0], SAMPLE)]), "promise 2147483647"),
        (deep_file(ONE, [line(0, [1, 0], SAMPLE, unpacked=2**40)]), "impossible size"),
        (deep_file(ONE, [line(0, [1, 0], SAMPLE, unpacked=5)]), "impossible size|hold 5"),
        (deep_file(ONE, [LINE.pack(0, 2**63, 2**63, 0)]), "cut off or overlaps"),
        (deep_file(ONE, [line(7, [1, 0], SAMPLE)]), "outside the window"),
        (deep_file(ONE, [line(0, [1, 0], SAMPLE)], offsets=[0]), "never written"),
        (deep_file(ONE, [line(0, [1, 0], SAMPLE)], offsets=[8]), "leads out"),
        (deep_file(ONE, [line(0, [1, 0], SAMPLE)], offsets=[2**64 - 1]), "leads out"),
        (header(Window(0, 0, 2, 2**29)), "table of 536870912 lines"),
        (header(Window(-(2**29), 0, 2**29, 1)), "cut off"),
        (header(ONE, dataWindow=Attribute("box2i", bytes(3))), "not of type box2i"),
        (header(ONE, dataWindow=None), "'dataWindow' is missing"),
        (header(ONE, dataWindow=Attribute("box2i", struct.pack("<4i", 5, 0, 1, 0))), "no window"),
        (header(ONE, channels=Attribute("chlist", b"A\0\1")), "cut off"),
        (header(ONE, channels=Attribute("chlist", b"\0")), "no channels"),
        (header(ONE, compression=None), "'compression' is missing"),
        (header(ONE, compression=Attribute("compression", b"\x63")), "number 99"),
        (header(ONE, type=None), "type None"),
    ],
)
def test_absurd_claims_are_refused(data, reason):
    refused(data, reason)


def test_lines_that_point_at_each_other_are_refused():
    window = Window(0, 0, 2, 2)
    first, second = line(0, [1, 0], SAMPLE), line(1, [1, 0], SAMPLE)
    sound = deep_file(window, [first, second])
    assert outcome(sound) == "frame"
    start = len(sound) - len(first) - len(second)

    refused(deep_file(window, [first, second], offsets=[start, start]), "there twice")
    inner = LINE.pack(1, 8, 6, 6)
    overlapping = deep_file(
        window, [first + inner + second[LINE.size :]], offsets=[start, start + len(first)]
    )
    assert outcome(overlapping) == "frame"
    nested = line(0, [1, 0], SAMPLE + second, unpacked=len(SAMPLE) + len(second))
    refused(
        deep_file(window, [nested], offsets=[start, start + LINE.size + 8 + len(SAMPLE)]),
        "cut off or overlaps",
    )


def peak_bytes(work) -> int:
    """Most memory that numpy and Python took while something ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(20)
def test_zip_bombs_stay_small():
    big = 1 << 26
    packed = bomb(big)
    window = Window(0, 0, 2, 1)
    honest = deep_file(window, [line(0, [big // 6, 0], b"", packed=packed, unpacked=big // 6 * 6)])
    lying = deep_file(window, [line(0, [100, 0], b"", packed=packed, unpacked=600)])
    fitting = deep_file(window, [line(0, [40_000, 0], b"", packed=bomb(big), unpacked=240_000)])

    def read_all():
        refused(honest, "more than 4194304 bytes")
        refused(lying, "impossible size")
        refused(fitting, "another size than stated")

    assert len(packed) < 70_000
    assert peak_bytes(read_all) < LIMIT


@pytest.mark.timeout(20)
def test_a_bomb_of_counts_stays_small():
    width = 1 << 24
    packed = bomb(4 * width)
    data = deep_file(Window(0, 0, width, 1), [LINE.pack(0, len(packed), 0, 0) + packed])

    assert peak_bytes(lambda: refused(data, "more than 4194304 bytes")) < LIMIT


@pytest.mark.timeout(20)
def test_run_lengths_that_do_not_fit_are_refused():
    def rle_file(packed, samples=100):
        chunk = line(0, [samples, 0], b"", packed=packed, unpacked=6 * samples)
        return deep_file(ONE, [chunk], compression=Attribute("compression", b"\1"))

    assert outcome(rle_file(b"\x7f\x00" * 4 + b"\x57\x00")) == "frame"
    refused(rle_file(b"\x7f\x00" * 20), "Bad run lengths")
    refused(rle_file(b"\x7f\x00" * 4 + b"\xfe\x01"), "Bad run lengths")
    refused(rle_file(b"\x80" + bytes(9)), "Bad run lengths|impossible")
    refused(rle_file(b"\x7f\x00", 10_000), "impossible size")


def test_a_display_window_that_no_matte_could_fill_is_refused():
    display = Attribute.of_window(Window(0, 0, 1 << 29, 1 << 13))
    data = deep_file(ONE, [line(0, [1, 0], SAMPLE)], displayWindow=display)

    refused(data, "A matte of its display window")
    refused(data, "A matte of its display window", largest_bytes=2 << 30)


def test_a_file_that_needs_more_than_allowed_says_so():
    data = files()[1]

    refused(data, "more than 1000 bytes", objectid.UnsupportedFileError, largest_bytes=1000)
    assert decode_deep(data, largest_bytes=20_000)


# --- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"name\0type\0" + struct.pack("<i", -1), "malformed"),
        (b"name\0type\0" + struct.pack("<i", 2**31 - 1), "cut off"),
        (b"name\0\0" + struct.pack("<i", 0), "malformed"),
        (b"x" * 40 + b"\0", "longer than 31"),
        (b"x" * 20, "cut off"),
        (b"a\0int\0\4\0\0\0\0\0\0\0" * 2 + b"\0", "twice"),
        (b"\0", "missing|type"),
    ],
)
def test_malformed_headers_are_refused(tmp_path, tail, reason):
    data = struct.pack("<II", 20000630, 0x802) + tail

    refused(data, reason)
    (tmp_path / "a.exr").write_bytes(data)
    with pytest.raises(objectid.ObjectIdError) as caught:
        objectid.read_manifest(tmp_path / "a.exr")
    assert caught.value.path == tmp_path / "a.exr"


def test_later_versions_of_exr_are_refused():
    data = bytearray(small_file())
    data[4] = 3
    refused(bytes(data), "version 3")
    data[4:8] = struct.pack("<I", 0x8802)
    refused(bytes(data), "flags")


# --- manifests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"objectid/manifest": Attribute.of_text("{not json")}, "no valid JSON"),
        ({"objectid/manifest": Attribute("string", b"\xff\xfe")}, "not UTF-8"),
        (
            {
                "objectid/manifest": Attribute.of_text(
                    '{"version":1,"ids":{"/a":3,"/b":4},"frame":[3,4]}'
                )
            },
            "lists id 4 for this frame, but no sample",
        ),
        ({"objectid/manifest": Attribute.of_text('{"version":7}')}, "version 7"),
        ({"objectid/version": Attribute.of_int(99)}, "version 99"),
        ({"objectid/version": Attribute.of_text("x")}, "not a number"),
        ({"idManifest": Attribute("idmanifest", b"\0" * 8)}, "cut off|inflated|version"),
    ],
)
def test_hostile_manifests_are_refused(attributes, reason):
    refused(deep_file(ONE, [line(0, [1, 0], SAMPLE)], **attributes), reason)


def test_a_manifest_that_names_objects_of_other_frames_is_fine():
    text = '{"version":1,"ids":{"/a":3,"/b":4},"frame":[3]}'
    data = deep_file(
        ONE, [line(0, [1, 0], SAMPLE)], **{"objectid/manifest": Attribute.of_text(text)}
    )

    assert decode_frame(data).manifest.ids == {"/a": 3, "/b": 4}


# --- through the OpenEXR package -----------------------------------------------------------------


def test_damaged_tiles_are_an_error_and_never_a_crash(tmp_path):
    binding_file(
        tmp_path / "tiles.exr",
        random_samples(),
        type=OpenEXR.deeptile,
        tiles=OpenEXR.TileDescription(),
    )
    data = (tmp_path / "tiles.exr").read_bytes()
    source = random.Random(3)
    path = tmp_path / "damaged.exr"
    for _ in range(12):
        path.write_bytes(damage(data, source))
        try:
            objectid.read_frame(path, largest_bytes=LIMIT)
        except objectid.ObjectIdError as error:
            seen = error
            assert seen.path == path


def test_the_reader_and_the_writer_agree_on_an_empty_frame():
    data = b"".join(encode_frame(encode({}).frame, manifest={}))

    assert outcome(data) == "frame"
    assert small_frame().present == (5, 9)
