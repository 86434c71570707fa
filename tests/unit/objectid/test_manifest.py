from __future__ import annotations

import base64
import contextlib
import json
import struct
import zlib
from importlib import resources

import jsonschema
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import objectid
from objectid.header import Attribute, encode_header
from objectid.idmanifest import (
    ChannelGroup,
    IdManifestError,
    decode_id_manifest,
    encode_id_manifest,
)
from tests.unit.objectid.drawn import encode, write_shot

SCHEMA = json.loads(resources.files(objectid).joinpath("manifest.schema.json").read_text())
IDS = {"/person/person_01": 5, "/人/人_01": 9, "/car/car_01": 16_777_215}


def header_only(path, **attributes):
    """A file that consists of a header."""
    path.write_bytes(encode_header(attributes))
    return path


# --- JSON ----------------------------------------------------------------------------------------


def test_a_manifest_survives_json():
    manifest = objectid.Manifest(IDS, (5, 9), {"later": [1]})

    assert objectid.Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no 'version'"),
        ('{"version":"1","ids":{}}', "no 'version'"),
        ('{"version":0,"ids":{}}', "no 'version'"),
        ('{"version":1}', "'ids'"),
        ('{"version":1,"ids":[]}', "'ids'"),
        ('{"version":1,"ids":{"/a":1.5}}', "'ids'"),
        ('{"version":1,"ids":{"/a":true}}', "'ids'"),
        ('{"version":1,"ids":{"/a":NaN}}', "no valid JSON"),
        ('{"version":1,"ids":{"/a":0}}', "within"),
        ('{"version":1,"ids":{"/a":16777216}}', "within"),
        ('{"version":1,"ids":{"":1}}', "within"),
        ('{"version":1,"ids":{"/a":1,"/a":2}}', "twice"),
        ('{"version":1,"ids":{"/a":1,"/b":1}}', "same id"),
        ('{"version":1,"ids":{"/a":1},"frame":[2]}', "without a name"),
        ('{"version":1,"ids":{"/a":1},"frame":7}', "'frame'"),
        ('{"version":1,"ids":{"\\ud800":1}}', "Unicode"),
        ('{"version":1,"ids":{"/a":' + "9" * 5000 + "}}", "JSON|within"),
    ],
)
def test_what_is_no_manifest_says_why(text, reason):
    with pytest.raises(objectid.ManifestError, match=reason):
        objectid.Manifest.from_json(text)


def test_a_manifest_of_a_later_version_is_refused_and_unknown_keys_are_kept():
    with pytest.raises(objectid.NewerVersionError, match=r"version 2.*knows 1"):
        objectid.Manifest.from_json('{"version":2,"anything":0}')

    manifest = objectid.Manifest.from_json('{"version":1,"ids":{"/a":1},"new":{"x":[1]}}')
    assert json.loads(manifest.to_json())["new"] == {"x": [1]}


def test_the_fingerprint_changes_with_a_name_or_an_id():
    prints = {
        objectid.Manifest(ids).fingerprint
        for ids in ({"/a": 1}, {"/a": 2}, {"/b": 1}, {"/a": 1, "/b": 2})
    }

    assert len(prints) == 4
    assert (
        objectid.Manifest({"/a": 1, "/b": 2}).fingerprint
        == objectid.Manifest({"/b": 2, "/a": 1}, (1,)).fingerprint
    )


# --- the standard id manifest --------------------------------------------------------------------


def binding_manifest(table, components=("name",)):
    manifest = OpenEXR.IDManifest()
    group = manifest.add("id")
    group.setComponents(list(components))
    group.setHashScheme("none")
    group.setEncodingScheme("id")
    group.setLifetime(OpenEXR.LIFETIME_SHOT)
    for number, text in table.items():
        group.insert(number, text)
    return manifest


def tables(entries: int) -> dict[int, str]:
    return {
        1 + 1601 * i: f"/crowd/person_{i:05d}" + ("é人" * (i % 5)) + "x" * (300 * (i % 7 == 3))
        for i in range(entries)
    }


@pytest.mark.parametrize("entries", [0, 1, 2, 10_000])
def test_the_binding_reads_our_id_manifest(tmp_path, entries):
    table = tables(entries)
    frame = encode({}).frame
    ids = {name: number for number, name in table.items()}
    path = tmp_path / "a.exr"
    objectid.write_frame(path, frame, manifest=ids)

    (group,) = (OpenEXR.File(str(path), header_only=True).parts[0].header["idManifest"][0],)

    assert {int(entry.id()): entry.text()[0] for entry in group} == table
    assert (group.getChannels(), group.getComponents()) == ({"id"}, ["name"])
    assert group.getLifetime() == OpenEXR.LIFETIME_SHOT


@pytest.mark.parametrize("entries", [0, 1, 2, 10_000])
def test_we_read_the_id_manifest_of_the_binding(tmp_path, entries):
    import numpy as np

    table = tables(entries)
    path = tmp_path / "b.exr"
    header = {"type": OpenEXR.scanlineimage, "idManifest": binding_manifest(table)}
    OpenEXR.File(header, {"Y": np.zeros((1, 1), np.float16)}).write(str(path))

    assert objectid.read_manifest(path).ids == {name: number for number, name in table.items()}


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.integers(0, 2**64 - 1), st.tuples(texts, texts), max_size=12),
    st.integers(0, 2),
)
def test_an_id_manifest_survives_encoding(table, lifetime):
    group = ChannelGroup(("a", "id"), ("name", "stuff"), table, lifetime, "none", "id")

    assert decode_id_manifest(encode_id_manifest(group)) == (group,)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_id_manifest_is_an_error_or_a_manifest(data):
    group = ChannelGroup(("id",), ("name",), {1: ("/a/b",), 300: ("/a/c",), 70_000: ("é" * 200,)})
    raw = bytearray(zlib.decompress(encode_id_manifest(group)[8:]))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(len(raw) // 2, len(raw))) :]
    payload = struct.pack("<Q", len(raw)) + zlib.compress(bytes(raw))

    with contextlib.suppress(IdManifestError):
        decode_id_manifest(payload)


def bomb_of_shared_texts() -> bytes:
    """A table whose texts each repeat the 60 000 bytes before them."""
    number = 100_000
    lengths = b"\xe0\xd4\x03" + b"\2" * (number - 1)
    raw = struct.pack("<ii", 0, number) + lengths + b"x" * 60_000
    raw += struct.pack(">H", 60_000) * (number - 1)
    return struct.pack("<Q", len(raw)) + zlib.compress(raw)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "cut off"),
        (struct.pack("<Q", 1 << 40) + zlib.compress(b""), "claims"),
        (struct.pack("<Q", 100) + zlib.compress(bytes(1 << 20)), "another size"),
        (struct.pack("<Q", 8) + zlib.compress(struct.pack("<ii", 0, 1 << 30)), "entries"),
        (struct.pack("<Q", 8) + zlib.compress(struct.pack("<ii", 7, 0)), "version"),
        (bomb_of_shared_texts(), "more than"),
    ],
)
def test_an_absurd_id_manifest_is_refused(payload, reason):
    with pytest.raises(IdManifestError, match=reason):
        decode_id_manifest(payload)


# --- which manifest of a file counts -------------------------------------------------------------


def test_our_json_counts_before_the_standard_manifest(tmp_path):
    ours, standard = objectid.Manifest({"/a": 1}), objectid.Manifest({"/b": 2})
    path = header_only(
        tmp_path / "a.exr",
        **{
            "objectid/manifest": ours.attributes()["objectid/manifest"],
            "idManifest": standard.attributes()["idManifest"],
        },
    )

    assert objectid.read_manifest(path).ids == {"/a": 1}


def test_the_standard_manifest_counts_where_there_is_no_json(tmp_path):
    path = header_only(
        tmp_path / "a.exr", idManifest=objectid.Manifest(IDS).attributes()["idManifest"]
    )

    assert objectid.read_manifest(path).ids == IDS


def test_names_of_openexrid_version_3_are_read(tmp_path):
    names = base64.b64encode(zlib.compress(b"\nplane\nsphere"))
    path = header_only(
        tmp_path / "a.exr", EXRIdVersion=Attribute.of_int(3), EXRIdNames=Attribute("string", names)
    )

    assert objectid.read_manifest(path).ids == {"plane": 1, "sphere": 2}


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({}, objectid.ManifestError),
        ({"objectid/version": Attribute.of_int(2)}, objectid.NewerVersionError),
        ({"objectid/manifest": Attribute("string", b"\xff")}, objectid.ObjectIdError),
        ({"objectid/manifest": Attribute.of_text("nonsense")}, objectid.ManifestError),
        ({"idManifest": Attribute("idmanifest", b"nonsense")}, objectid.ManifestError),
        ({"EXRIdNames": Attribute("string", b"nonsense")}, objectid.ManifestError),
    ],
)
def test_an_unreadable_manifest_is_an_error_with_path_and_reason(tmp_path, attributes, error):
    path = header_only(tmp_path / "a.exr", **attributes)

    with pytest.raises(error) as caught:
        objectid.read_manifest(path)

    assert caught.value.path == path
    assert caught.value.reason
    assert str(path) in str(caught.value)


# --- sidecar -------------------------------------------------------------------------------------


def sidecar() -> objectid.Sidecar:
    return objectid.Sidecar(
        "shot010",
        (
            objectid.ObjectRecord("/a/a_01", 7, "a", ((1001, 1004), (1010, 1010)), 0.75, {"k": 1}),
            objectid.ObjectRecord("/hero", 9),
        ),
        {"prompts": ["a"], "provenance": {"models": "drawn"}, "rejected": []},
    )


def test_a_sidecar_survives_its_file(tmp_path):
    objectid.write_sidecar(tmp_path / "x.manifest.json", sidecar())

    assert objectid.read_sidecar(tmp_path / "x.manifest.json") == sidecar()
    assert objectid.read_manifest(tmp_path / "x.manifest.json").ids == {"/a/a_01": 7, "/hero": 9}
    assert [record.parent for record in sidecar().objects] == ["/a", None]


def test_the_schema_accepts_what_is_written(tmp_path):
    ids = write_shot(tmp_path, frames=range(1001, 1002))
    text = objectid.read_manifest(tmp_path / "objectid" / "shot.1001.exr").to_json()

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(text), SCHEMA)
    jsonschema.validate(json.loads(sidecar().to_json()), SCHEMA)
    assert json.loads(text)["frame"] == sorted(ids.values())


@pytest.mark.parametrize(
    "content",
    [
        {"version": 2, "ids": {}},
        {"version": 1},
        {"version": 1, "ids": {"/a": 0}},
        {"version": 1, "ids": {"a": 1}},
        {"version": 1, "ids": {"/a/": 1}},
        {"version": 1, "ids": {}, "objects": [{"name": "/a"}]},
        {"version": 1, "ids": {}, "frame": ["x"]},
    ],
)
def test_the_schema_refuses_what_is_not(content):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"version":1,"ids":{"/a":1},"objects":[{"name":"/a","id":2}]}', "contradict"),
        ('{"version":1,"ids":{"/a":1},"objects":[{"name":"/b","id":1}]}', "contradict"),
        ('{"version":1,"ids":{"/a":1},"objects":[1]}', "not an object"),
        (
            '{"version":1,"ids":{"/a":1},"objects":[{"name":"/a","id":1,"frames":[[1]]}]}',
            "malformed",
        ),
        ('{"version":1,"ids":{"/a":1},"objects":{}}', "a list"),
        ('{"version":9,"ids":{}}', "version 9"),
    ],
)
def test_a_malformed_sidecar_says_why_and_where(tmp_path, text, reason):
    path = tmp_path / "x.manifest.json"
    path.write_text(text)

    with pytest.raises(objectid.ManifestError, match=reason) as caught:
        objectid.read_sidecar(path)

    assert caught.value.path == path


def test_a_sidecar_that_is_missing_or_no_text_is_an_error(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")

    with pytest.raises(objectid.ManifestError, match="UTF-8"):
        objectid.read_sidecar(tmp_path / "binary.json")
    with pytest.raises(objectid.StorageError, match="No such file"):
        objectid.read_sidecar(tmp_path / "none.json")


def test_a_sidecar_with_a_bad_name_or_section_is_not_written(tmp_path):
    path = tmp_path / "x.manifest.json"

    with pytest.raises(objectid.RequestError, match="path of levels"):
        objectid.write_sidecar(path, objectid.Sidecar("x", (objectid.ObjectRecord("a", 1),)))
    with pytest.raises(objectid.RequestError, match="no JSON"):
        objectid.write_sidecar(path, objectid.Sidecar("x", (), {"p": object()}))
    assert list(tmp_path.iterdir()) == []


def test_frames_become_runs():
    assert objectid.frame_runs([5, 1, 2, 3, 5, -1]) == ((-1, -1), (1, 3), (5, 5))
