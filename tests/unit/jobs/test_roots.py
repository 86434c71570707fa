"""Paths of clients: what is refused, in whatever form, and what stays reachable."""

import os
import threading
from pathlib import Path

import pytest

from server.errors import InputError, PlateError, ResourceError, ResultError
from server.executors.prepare import find_plate
from server.jobs.errors import PermissionError_
from server.jobs.outputs import OutputFolder
from server.jobs.roots import Root, Roots


@pytest.fixture
def site(tmp_path):
    shows = tmp_path / "shows"
    (shows / "a").mkdir(parents=True)
    (shows / "a" / "plate.1001.exr").write_bytes(b"inside")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "plate.1001.exr").write_bytes(b"outside")
    (secret / "token").write_bytes(b"token")
    return tmp_path


def roots(site, **more):
    values = {"aliases": ("P:/shows", "//filer/shows"), **more}
    return Roots([Root(str(site / "shows"), **values)], user="ann")


def read(granted, path):
    with granted.open(granted.local_path(str(path))) as handle:
        return os.read(handle, 100)


def test_a_file_below_the_root_is_read(site):
    assert read(roots(site), site / "shows/a/plate.1001.exr") == b"inside"


@pytest.mark.parametrize(
    "path",
    [
        "{site}/secret/token",
        "{site}/shows/../secret/token",
        "{site}/shows/a/../../secret/token",
        "{site}/shows2/x",
        "/etc/passwd",
        "/proc/self/environ",
        "relative/plate.exr",
        "",
        "{site}/shows/a\0b",
        "//{site}/shows/a/plate.1001.exr",
        "C:\\Windows\\win.ini",
        "C:/Windows/win.ini",
        "\\\\filer\\secret\\x",
        "\\\\?\\C:\\x",
        "P:/shows/../secret/token",
        "P:\\shows\\..\\secret\\token",
        "P:/showsecret/token",
        "file:///etc/passwd",
        "http://localhost/x.exr",
    ],
)
def test_a_path_that_leaves_the_root_is_refused(site, path):
    with pytest.raises((PlateError, PermissionError_)):
        read(roots(site), path.replace("{site}", str(site)))


@pytest.mark.parametrize("form", ["P:/shows/a/plate.1001.exr", "p:\\shows\\a\\plate.1001.exr"])
def test_a_path_of_another_system_is_mapped_by_its_alias(site, form):
    assert read(roots(site), form) == b"inside"


@pytest.mark.parametrize("target", ["../secret", "{site}/secret", "/etc"])
def test_a_link_that_leads_out_is_refused(site, target):
    os.symlink(target.replace("{site}", str(site)), site / "shows/link")
    with pytest.raises((PlateError, PermissionError_)):
        read(roots(site), site / "shows/link/token")


def test_a_link_of_a_file_that_leads_out_is_refused(site):
    os.symlink(site / "secret/token", site / "shows/a/plate.1002.exr")
    with pytest.raises(PermissionError_, match="leads out of your folders"):
        read(roots(site), site / "shows/a/plate.1002.exr")


@pytest.mark.parametrize("target", ["a", "b/../a", "{site}/shows/a"])
def test_links_inside_the_root_are_followed(site, target):
    (site / "shows/b").mkdir()
    os.symlink(target.replace("{site}", str(site)), site / "shows/current")
    assert read(roots(site), site / "shows/current/plate.1001.exr") == b"inside"


def test_a_link_through_the_roots_parent_is_refused_even_if_it_comes_back(site):
    os.symlink("../shows/a", site / "shows/current")
    with pytest.raises(PermissionError_, match="leads out"):
        read(roots(site), site / "shows/current/plate.1001.exr")


def test_links_in_a_circle_end(site):
    os.symlink("two", site / "shows/one")
    os.symlink("one", site / "shows/two")
    with pytest.raises(PlateError, match="symbolic links"):
        read(roots(site), site / "shows/one/x")


def test_a_folder_swapped_for_a_link_again_and_again_never_leads_out(site):
    """The attack on check-then-open: the folder is a link to the secret one half of the time."""
    shows, done = site / "shows", threading.Event()
    os.symlink(site / "secret", shows / "evil")

    def swap():
        while not done.is_set():
            for first, second in (("a", "kept"), ("evil", "a"), ("a", "evil"), ("kept", "a")):
                os.rename(shows / first, shows / second)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    granted = roots(site)
    try:
        for _ in range(3000):
            try:
                seen.add(read(granted, shows / "a/plate.1001.exr"))
            except (PlateError, PermissionError_) as error:
                seen.add(type(error).__name__)
    finally:
        done.set()
        swapper.join()
    assert b"outside" not in seen
    assert b"inside" in seen


def test_devices_pipes_and_folders_are_no_plates(site):
    os.mkfifo(site / "shows/a/plate.1003.exr")
    for name in ("plate.1003.exr", ""):
        with pytest.raises(PlateError, match="Expected a file"):
            read(roots(site), site / "shows/a" / name)


def test_the_servers_own_folder_is_closed_even_inside_a_root(site):
    granted = Roots([Root(str(site))], user="ann", closed=[site / "secret"])
    with pytest.raises(PermissionError_, match="server's own files"):
        read(granted, site / "secret/token")


def test_roots_are_for_their_users_and_groups_alone(site):
    root = Root(str(site / "shows"), users=("bob",), groups=("comp",))
    path = site / "shows/a/plate.1001.exr"
    assert read(Roots([root], user="bob"), path) == b"inside"
    assert read(Roots([root], user="ann", groups=["comp"]), path) == b"inside"
    with pytest.raises(PermissionError_, match="none of your folders"):
        read(Roots([root], user="ann"), path)
    with pytest.raises(PermissionError_):
        Roots([root], user="bob", access="write").local_path(str(path))


def test_a_plate_is_found_by_pattern_folder_and_file(site):
    granted = roots(site)
    for name in ("a/plate.####.exr", "a/plate.%04d.exr", "a", "a/plate.1001.exr"):
        names, _ = find_plate(granted, granted.local_path(str(site / "shows" / name)))
        assert names == {1001: "plate.1001.exr"}
    with pytest.raises(PlateError, match="shows/a") as caught:
        find_plate(granted, granted.local_path(str(site / "shows/a/other.####.exr")))
    assert "/proc/" not in str(caught.value)


def test_movie_containers_outside_of_the_list_are_refused(site):
    (site / "shows/a/x.mkv").write_bytes(b"\x1a\x45\xdf\xa3")
    granted = roots(site)
    with pytest.raises(PlateError, match="reads the movie containers"):
        find_plate(granted, granted.local_path(str(site / "shows/a/x.mkv")))


def outputs(site, **more):
    root = Root(str(site / "shows"), access="write")
    return OutputFolder(Roots([root], user="ann", access="write"), f"{site}/shows/out/v001", **more)


def test_results_are_written_with_mode_into_folders_made_on_the_way(site):
    source = site / "x"
    source.write_bytes(b"matte")
    with outputs(site, mode=0o640) as folder:
        folder.write("objectid/a.1001.exr", source)
        folder.write("objectid/a.1001.exr", source)  # the same again is fine
    written = site / "shows/out/v001/objectid/a.1001.exr"
    assert written.read_bytes() == b"matte"
    assert written.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in written.parent.iterdir()] == ["a.1001.exr"]


def test_a_file_that_is_not_ours_is_never_replaced(site):
    source = site / "x"
    source.write_bytes(b"matte")
    target = site / "shows/out/v001/a.exr"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"somebody's")
    with outputs(site) as folder, pytest.raises(ResultError, match="not this job's"):
        folder.write("a.exr", source)
    assert target.read_bytes() == b"somebody's"


@pytest.mark.parametrize("place", ["out", "out/v001", "out/v001/objectid"])
def test_no_link_leads_results_elsewhere(site, place):
    source = site / "x"
    source.write_bytes(b"matte")
    link = site / "shows" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(site / "secret", link)

    def write():
        with outputs(site) as folder:
            folder.write("objectid/a.exr", source)

    with pytest.raises((PermissionError_, ResultError, InputError, ResourceError)):
        write()
    assert sorted(p.name for p in Path(site / "secret").iterdir()) == ["plate.1001.exr", "token"]
