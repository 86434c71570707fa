"""Uploads: named by what they are, apart for every user, going on where they broke off."""

import hashlib
import os

import pytest

from server.errors import InputError, ResourceError
from server.jobs.errors import BusyError, LimitError, NotFoundError, StateError
from server.jobs.uploads import Uploads

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


def name(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path / "uploads", max_content_bytes=10_000, max_user_bytes=12_000)


def send(uploads, data, *, user="ann", sha256=None, offset=0, size=None):
    sha256 = sha256 or name(data)
    size = size if size is not None else len(data)
    with uploads.receive(user, sha256, size_bytes=size, offset=offset) as arrival:
        for start in range(offset, len(data) or 1, 1000):
            arrival.write([data[start : start + 1000]])
        return arrival.complete


def test_a_content_is_there_once_it_is_whole(uploads):
    assert uploads.received("ann", name(PNG)) == 0
    assert send(uploads, PNG)
    assert uploads.received("ann", name(PNG)) is None
    uploads.require("ann", [name(PNG)])
    handle = uploads.open("ann", name(PNG), suffix="png")
    assert os.read(handle, 10_000) == PNG
    os.close(handle)


def test_what_one_user_has_says_nothing_to_another(uploads):
    send(uploads, PNG)
    assert uploads.received("bob", name(PNG)) == 0
    with pytest.raises(NotFoundError, match="not there any more"):
        uploads.open("bob", name(PNG), suffix="png")


def test_a_broken_upload_goes_on_where_it_stopped(uploads):
    assert not send(uploads, PNG[:2500], sha256=name(PNG), size=len(PNG))
    assert uploads.received("ann", name(PNG)) == 2500
    with pytest.raises(StateError, match="has 2500 bytes here, the upload starts at 0"):
        send(uploads, PNG)
    assert send(uploads, PNG, offset=2500)


def left_by_a_killed_server(uploads, data, *, sha256):
    part = uploads.path("ann", sha256).with_suffix(".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(data)
    return part


def test_what_was_whole_when_the_server_was_killed_is_taken_as_it_is(uploads):
    left_by_a_killed_server(uploads, PNG, sha256=name(PNG))
    uploads.require("ann", [name(PNG)])
    assert uploads.path("ann", name(PNG)).read_bytes() == PNG


def test_an_upload_of_what_was_whole_already_ends_without_data(uploads):
    left_by_a_killed_server(uploads, PNG, sha256=name(PNG))
    with uploads.receive("ann", name(PNG), size_bytes=len(PNG), offset=len(PNG)) as arrival:
        arrival.write([])
        assert arrival.complete


def test_half_of_a_content_is_missing_and_kept_when_a_job_needs_it(uploads):
    part = left_by_a_killed_server(uploads, PNG[:2500], sha256=name(PNG))
    with pytest.raises(StateError, match="1 of 1 uploaded files are missing"):
        uploads.require("ann", [name(PNG)])
    assert part.read_bytes() == PNG[:2500]


def test_a_job_is_not_taken_in_when_its_uploads_do_not_reach_the_disk(uploads):
    with uploads.receive("ann", name(PNG), size_bytes=len(PNG), offset=0) as arrival:
        arrival.write([PNG])
        uploads.path("ann", name(PNG)).mkdir()  # no file can get this name
    with pytest.raises(ResourceError, match="cannot be written"):
        uploads.require("ann", [name(PNG)])


def test_bytes_of_another_hash_are_thrown_away(uploads):
    with pytest.raises(InputError, match="found bytes of another sha256"):
        send(uploads, PNG, sha256=name(b"other"))
    assert uploads.received("ann", name(b"other")) == 0


def test_more_than_announced_is_refused(uploads):
    with pytest.raises(InputError, match="more than the 100 bytes announced"):
        send(uploads, PNG, size=100)


def test_what_is_no_picture_is_not_kept(uploads):
    data = b"#!/bin/sh\n" * 50
    with pytest.raises(InputError, match="no picture of a known format"):
        send(uploads, data)


def test_a_picture_under_another_formats_name_is_not_opened(uploads):
    send(uploads, PNG)
    uploads.require("ann", [name(PNG)])
    with pytest.raises(InputError, match=r"is called \.exr but is none"):
        uploads.open("ann", name(PNG), suffix="exr")


@pytest.mark.parametrize("sha256", ["../../token", "a" * 63, "", "A" * 64, "g" * 64])
def test_a_name_that_is_no_hash_is_refused(uploads, sha256):
    with pytest.raises(InputError, match="Expected a sha256"):
        uploads.path("ann", sha256)


@pytest.mark.parametrize("user", ["..", "../bob", "a/b", "."])
def test_a_users_name_never_leads_out_of_the_folder(uploads, tmp_path, user):
    path = uploads.path(user, "a" * 64)
    assert path.resolve().is_relative_to(tmp_path / "uploads")
    assert path.parent.parent.parent == tmp_path / "uploads"


def test_limits_of_content_and_user_hold(uploads):
    with pytest.raises(LimitError, match="20000 bytes cannot be uploaded"):
        send(uploads, b"", sha256="a" * 64, size=20_000)
    send(uploads, PNG)
    other = PNG + b"x" * 3000
    with pytest.raises(LimitError, match="the limit is 12000"):
        send(uploads, other)
    assert uploads.used_bytes("ann") == len(PNG)


def test_one_content_arrives_on_one_stream_at_a_time(uploads):
    with (
        uploads.receive("ann", name(PNG), size_bytes=len(PNG), offset=0),
        pytest.raises(BusyError, match="is arriving already"),
    ):
        send(uploads, PNG)


def test_retention_keeps_what_jobs_need(uploads):
    second = PNG + b"2"
    send(uploads, PNG)
    send(uploads, second)
    uploads.require("ann", [name(PNG), name(second)])
    for data in (PNG, second):
        os.utime(uploads.path("ann", name(data)), (0, 0))
    freed = uploads.clean(older_than_seconds=60, keep={("ann", name(PNG))})
    assert freed == len(second)
    assert uploads.path("ann", name(PNG)).exists()
    assert not uploads.path("ann", name(second)).exists()
