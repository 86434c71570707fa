"""The client without a server: where it looks, what it says, and what it makes of files."""

import argparse
import inspect
import json
import subprocess
import sys

import pytest

from client import errors as client_errors
from client.commands.server import plate_to_upload
from client.connection import find_server, pauses
from client.errors import InputError, PlateError, PromptError, SettingsError, error_of_kind
from client.shots import find_pictures, parse_outputs, parse_range, read_prompts
from protos import segmatte_pb2 as wire
from server import errors as server_errors
from server.jobs import errors as job_errors
from server.prompts import load_prompts
from server.service import convert
from server.service.errors import STATUS, status_of


def server_kinds():
    found = {}
    for module in (server_errors, job_errors):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, server_errors.ServerError) and kind.__module__ == module.__name__:
                found[name.rstrip("_")] = kind
    return found


def test_every_error_of_the_server_has_its_status_and_its_name_in_the_client():
    kinds = server_kinds()
    assert len(kinds) >= 14
    for name, kind in kinds.items():
        if name in ("ServerError", "LeaseLostError"):
            continue  # a root, and one that never leaves the executor
        error = kind("because")
        assert any(isinstance(error, known) for known, _ in STATUS), name
        status, sentence, sent = status_of(error)
        assert (status.name != "INTERNAL", sentence, sent) == (True, "because", name)
        again = error_of_kind(sent, sentence)
        assert (again.kind, str(again)) == (name, "because")
        assert again.exit_code == error.exit_code, name


def test_what_is_unknown_on_either_side_is_internal_and_tells_nothing():
    assert status_of(ValueError("secret"))[1] == "Internal error. The server's log has the details."
    assert isinstance(error_of_kind("NewerError", "x"), client_errors.InternalError)


def test_the_server_of_this_user_is_found_with_its_token(tmp_path, monkeypatch):
    for name in ("SEGMATTE_SERVER", "SEGMATTE_TOKEN", "SEGMATTE_TOKEN_FILE", "SEGMATTE_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEGMATTE_STATE", str(tmp_path))
    assert find_server().address == "127.0.0.1:7766"
    (tmp_path / "server.json").write_text(json.dumps({"address": "127.0.0.1:5", "tls": False}))
    (tmp_path / "token").write_text("sgm_x\n")
    (tmp_path / "token").chmod(0o600)
    found = find_server()
    assert (found.address, found.token, found.tls) == ("127.0.0.1:5", "sgm_x", False)
    assert "sgm_x" not in repr(found)
    monkeypatch.setenv("SEGMATTE_SERVER", "https://farm:7")
    monkeypatch.setenv("SEGMATTE_TOKEN", "sgm_y")
    found = find_server()
    assert (found.address, found.token, found.tls) == ("farm:7", "sgm_y", True)


def test_a_token_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("sgm_x")
    path.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others"):
        find_server(token_file=path)


def test_without_the_servers_packages_the_plates_own_files_are_sent(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("client.shots._PICTURE_PACKAGES", ("no_such_package",))
    file = tmp_path / "plate.1001.png"
    file.write_bytes(b"picture")
    options = wire.PlateOptions(colorspace="ACEScg")
    arguments = argparse.Namespace(plate=str(tmp_path / "plate.####.png"), upload_files=False)
    source, contents = plate_to_upload(arguments, tmp_path, frames="1001", options=options)
    assert (source.upload.kind, list(contents.values())) == (wire.UploadedPlate.PLATE, [file])
    assert options.colorspace == "ACEScg"
    assert "needs segmatte[server] on this machine" in capsys.readouterr().err


def test_outputs_are_known_by_name():
    assert parse_outputs("cryptomatte, masks") == [wire.OUTPUT_CRYPTOMATTE, wire.OUTPUT_MASKS]
    with pytest.raises(SettingsError, match="Outputs are objectid, cryptomatte, masks, not 'x'"):
        parse_outputs("x")


def test_pauses_grow_are_jittered_and_end():
    waits = list(pauses(5))
    assert waits[-1] is None
    assert len(waits) == 5
    assert 0.1 <= waits[0] <= 0.3
    assert 0.8 <= waits[3] <= 2.4
    assert list(pauses(1)) == [None]


def test_pictures_are_found_by_pattern_with_negative_frames(tmp_path):
    for number in ("0001", "0010", "-0002"):
        (tmp_path / f"a.{number}.png").write_bytes(b"x")
    (tmp_path / "a.0001.png.bak").write_bytes(b"x")
    for pattern in ("a.####.png", "a.%04d.png"):
        assert list(find_pictures(str(tmp_path / pattern))) == [-2, 1, 10]
    with pytest.raises(PlateError, match="Expected a plate at"):
        find_pictures(str(tmp_path / "b.####.png"))


@pytest.mark.parametrize(
    ("text", "found"),
    [("1001", (1001, 1001, 1)), ("1-9x2", (1, 9, 2)), ("-10--5", (-10, -5, 1))],
)
def test_ranges_are_read_as_artists_write_them(text, found):
    message = parse_range(text)
    assert (message.first, message.last, message.step) == found


def test_a_prompt_file_becomes_the_same_prompts_over_the_wire(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = {
        "version": 1,
        "objects": [
            {
                "name": "/hero/dress",
                "keyframes": [
                    {
                        "frame": 1001,
                        "polygons": [
                            {
                                "points": [[1, 2], [3, 4], [5, 1]],
                                "feather": [[0, 2], [3, 5], [6, 1]],
                                "operation": "subtract",
                                "opacity": 0.5,
                            }
                        ],
                    },
                    {"frame": 1002, "box": [1, 2, 3, 4], "points": [{"x": 1, "y": 2}]},
                    {"frame": 1003, "mask": {"path": "mask.png", "channel": "A"}},
                ],
            }
        ],
    }
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(data))
    objects, contents = read_prompts(path)
    masks = []
    here = convert.artist_prompts(objects, masks).objects[0].keyframes
    there = load_prompts(path).objects[0].keyframes
    assert here[:2] == there[:2]
    assert here[2].mask.channel == "A"
    assert bytes.fromhex(masks[0].sha256) in contents


def test_a_broken_prompt_file_says_which(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text('{"objects": [{"name": "/a", "keyframes": [{"frame": 1, "pints": []}]}]}')
    with pytest.raises(PromptError, match="unknown key 'pints'"):
        read_prompts(path)


def test_the_client_loads_no_server_no_numpy_and_no_torch():
    code = (
        "import sys, client.library, client.shots, client.commands.submit, client.commands.fetch; "
        "print([m for m in ('server', 'torch', 'numpy', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
