from __future__ import annotations

import os

import numpy as np
import pytest

import objectid
from objectid import edit
from objectid.edit import apply_change, combine, shot_ids, undo
from tests.unit.objectid.drawn import NAMES, SIZE, encode, write_shot

HALF = 1 / 1024
FRAMES = range(1001, 1005)


def mattes(folder, frame=1002) -> dict[str, np.ndarray]:
    """name → matte of every object of a frame."""
    file = objectid.read_frame(folder / "objectid" / f"shot.{frame}.exr")
    return {name: objectid.pick(file.frame, [n]) for name, n in file.manifest.ids.items()}


def content(folder) -> dict[str, bytes]:
    """Every visible file and its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts[-3:])
    }


def change(folder, plan, **options):
    return apply_change(objectid.find_result(folder), plan, command="test", **options)


def wanted(text: str) -> objectid.Filter:
    return objectid.compile_filter(text)


# --- what becomes of the objects -----------------------------------------------------------------


def test_rename_gives_the_id_of_the_new_name_and_keeps_every_matte(tmp_path):
    write_shot(tmp_path)
    before = mattes(tmp_path)

    done = change(tmp_path, lambda ids: edit.rename(ids, "/person/person_01", "/hero"))

    after = mattes(tmp_path)
    assert done.renamed == {"/person/person_01": "/hero"}
    assert set(after) == {"/hero", "/person/person_02", "/car/car_01"}
    assert objectid.read_manifest(tmp_path / "objectid" / "shot.1001.exr").ids[
        "/hero"
    ] == objectid.object_id("/hero")
    assert np.abs(after["/hero"] - before["/person/person_01"]).max() <= HALF
    for name in ("/person/person_02", "/car/car_01"):
        assert np.abs(after[name] - before[name]).max() <= HALF


def test_rename_takes_what_is_below_along():
    ids = objectid.object_ids(["/hero", "/hero/dress", "/heroine"])

    done = edit.rename(ids, "/hero", "/lead/anna")

    assert set(done.ids) == {"/lead/anna", "/lead/anna/dress", "/heroine"}
    assert done.ids["/heroine"] == ids["/heroine"]


def test_merge_adds_coverages_up(tmp_path):
    write_shot(tmp_path)
    before = mattes(tmp_path)

    change(tmp_path, lambda ids: edit.merge(ids, wanted("person"), "/crowd"))

    after = mattes(tmp_path)
    expected = np.minimum(before["/person/person_01"] + before["/person/person_02"], 1)
    assert set(after) == {"/crowd", "/car/car_01"}
    assert np.abs(after["/crowd"] - expected).max() <= HALF
    assert np.abs(after["/car/car_01"] - before["/car/car_01"]).max() <= HALF


def test_merge_into_one_of_them_keeps_its_id(tmp_path):
    ids = write_shot(tmp_path)
    name = "/person/person_02"

    change(tmp_path, lambda table: edit.merge(table, wanted("person"), name))

    assert shot_ids(objectid.find_result(tmp_path)) == {
        name: ids[name],
        "/car/car_01": ids["/car/car_01"],
    }


def test_delete_leaves_nothing_where_the_object_was(tmp_path):
    write_shot(tmp_path)
    before = mattes(tmp_path)

    change(tmp_path, lambda ids: edit.delete(ids, wanted("person_01")))

    after = mattes(tmp_path)
    assert set(after) == {"/person/person_02", "/car/car_01"}
    total = sum(matte for name, matte in before.items() if name != "/person/person_01")
    assert np.abs(sum(after.values()) - total).max() <= 2 * HALF


def test_move_puts_objects_below_another_name():
    ids = objectid.object_ids(["/person/person_01", "/person/person_02", "/a/b", "/a/b/c"])

    done = edit.move(ids, wanted("person, /a/b"), "/crowd")

    assert set(done.ids) == {
        "/crowd/person_01",
        "/crowd/person_02",
        "/crowd/b",
        "/crowd/b/c",
    }
    assert set(edit.move(ids, wanted("person_01"), "/").ids) >= {"/person_01"}


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (lambda ids: edit.rename(ids, "/nobody", "/x"), "There is no object '/nobody'"),
        (lambda ids: edit.rename(ids, NAMES[0], "x"), "path of levels"),
        (lambda ids: edit.rename(ids, NAMES[0], NAMES[1]), "taken; merge"),
        (lambda ids: edit.delete(ids, wanted("nobody")), "finds no object"),
        (lambda ids: edit.merge(ids, wanted("nobody"), "/x"), "finds no object"),
        (lambda ids: edit.move(ids, wanted("person"), "/car/car_01/"), "path of levels"),
        (lambda ids: edit.move(ids, wanted("person_01"), f"{NAMES[0]}/x"), "below itself"),
    ],
)
def test_a_change_that_is_not_possible_changes_nothing(tmp_path, plan, reason):
    write_shot(tmp_path)
    before = content(tmp_path)

    with pytest.raises(objectid.RequestError, match=reason):
        change(tmp_path, plan)

    assert content(tmp_path) == before


def test_two_objects_cannot_get_one_name_by_moving():
    ids = objectid.object_ids(["/a/x", "/b/x"])

    with pytest.raises(objectid.RequestError, match="same name"):
        edit.move(ids, wanted("x"), "/c")


# --- the sequence and its sidecar ----------------------------------------------------------------


def test_the_sidecar_follows_and_remembers(tmp_path):
    write_shot(tmp_path)

    change(tmp_path, lambda ids: edit.merge(ids, wanted("person"), "/crowd"))
    change(tmp_path, lambda ids: edit.delete(ids, wanted("car")))

    sidecar = objectid.read_sidecar(tmp_path / "shot.manifest.json")
    assert [(r.name, r.frames, r.score) for r in sidecar.objects] == [
        ("/crowd", ((1001, 1004),), 0.5)
    ]
    assert sidecar.ids == shot_ids(objectid.find_result(tmp_path))
    assert sidecar.extra["prompts"] == ["person, car"]
    assert [sorted(entry["renamed"]) for entry in sidecar.extra["history"]] == [
        ["/person/person_01", "/person/person_02"],
        [],
    ]
    assert sidecar.extra["history"][1]["deleted"] == ["/car/car_01"]


def test_texts_and_unknown_manifest_keys_stay(tmp_path):
    write_shot(tmp_path)

    change(tmp_path, lambda ids: edit.delete(ids, wanted("car")))

    file = objectid.read_frame(tmp_path / "objectid" / "shot.1001.exr")
    assert file.attributes == {"segmatte/models": "drawn"}


def test_pixels_of_frames_without_the_object_stay_as_they_are(tmp_path):
    ids = objectid.object_ids(["/a", "/b"])
    for frame, names in ((1, ["/a", "/b"]), (2, ["/a"])):
        found = {n: np.full(SIZE, 0.3, np.float32) for n in names}
        path = tmp_path / "objectid" / f"shot.{frame:04d}.exr"
        objectid.write_frame(path, encode(found, ids).frame, manifest=ids)
    before = objectid.read_frame(tmp_path / "objectid" / "shot.0002.exr")

    change(tmp_path, lambda table: edit.delete(table, wanted("/b")))

    after = objectid.read_frame(tmp_path / "objectid" / "shot.0002.exr")
    assert (after.frame.alpha == before.frame.alpha).all()
    assert (after.frame.ids == before.frame.ids).all()
    assert after.manifest.ids == {"/a": ids["/a"]}


@pytest.mark.parametrize("processes", [1, 2])
def test_undo_brings_every_byte_back_and_a_second_one_redoes(tmp_path, processes):
    write_shot(tmp_path)
    before = content(tmp_path)
    plan = lambda ids: edit.rename(ids, NAMES[0], "/hero")  # noqa: E731

    change(tmp_path, plan, processes=processes)
    after = content(tmp_path)
    assert after != before
    assert undo(objectid.find_result(tmp_path)) == len(before)
    assert content(tmp_path) == before
    undo(objectid.find_result(tmp_path))
    assert content(tmp_path) == after


def test_without_a_change_there_is_nothing_to_undo(tmp_path):
    write_shot(tmp_path)

    with pytest.raises(objectid.RequestError, match="no change to undo"):
        undo(objectid.find_result(tmp_path))


def test_when_a_frame_is_damaged_then_the_sequence_stays(tmp_path):
    write_shot(tmp_path)
    broken = tmp_path / "objectid" / "shot.1003.exr"
    broken.write_bytes(broken.read_bytes()[:-10])
    before = content(tmp_path)

    with pytest.raises(objectid.DamagedFileError, match=r"shot\.1003\.exr"):
        change(tmp_path, lambda ids: edit.rename(ids, NAMES[0], "/hero"))

    assert content(tmp_path) == before
    assert not list((tmp_path / "objectid").glob(".shot.change"))


def test_when_it_is_interrupted_before_all_files_are_new_then_the_old_sequence_stays(tmp_path):
    write_shot(tmp_path)
    before = content(tmp_path)

    def stop(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change(tmp_path, lambda ids: edit.rename(ids, NAMES[0], "/hero"), report=stop)

    assert content(tmp_path) == before


@pytest.mark.parametrize("placed", [0, 1, 3, 5])
def test_when_it_dies_while_files_are_put_in_place_then_the_next_call_finishes(tmp_path, placed):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        write_shot(folder)
    plan = lambda ids: edit.rename(ids, NAMES[0], "/hero")  # noqa: E731
    before = content(torn)
    change(whole, plan)
    expected = content(whole)

    # Go through the change as the process would, up to the moment it dies.
    store = edit._Store(objectid.find_result(torn))
    change(torn, plan)
    undo(objectid.find_result(torn))
    assert content(torn) == before
    store._previous.rename(store._staging)
    names = sorted(p.name for p in store._staging.iterdir() if p.name != "journal.json")
    (store._staging / "old").mkdir()
    root = torn / "objectid"
    for name in names[:placed]:
        target = torn / name if name.endswith(".json") else root / name
        os.link(target, store._staging / "old" / name)
        (store._staging / name).replace(target)

    undo(objectid.find_result(torn))
    assert content(torn) == before
    undo(objectid.find_result(torn))
    assert content(torn) == expected


def test_files_that_contradict_each_other_are_not_changed(tmp_path):
    write_shot(tmp_path)
    path = tmp_path / "objectid" / "shot.1003.exr"
    objectid.write_frame(path, encode({}).frame, manifest={NAMES[0]: 5})

    with pytest.raises(objectid.ManifestError, match=r"shot\.1003\.exr.*otherwise"):
        change(tmp_path, lambda ids: edit.rename(ids, NAMES[0], "/hero"))


# --- two results as one --------------------------------------------------------------------------


def two_results(tmp_path, other=("/dog/dog_01",), frames=range(1003, 1007)):
    write_shot(tmp_path / "a")
    write_shot(tmp_path / "b", other, frames=frames, seed=9)
    return [objectid.find_result(tmp_path / name) for name in "ab"]


def test_a_combined_result_has_all_frames_and_objects(tmp_path):
    results = two_results(tmp_path)

    combined = combine(results, tmp_path / "c")

    assert list(combined.frames) == list(range(1001, 1007))
    ids = shot_ids(combined)
    assert set(ids) == {*NAMES, "/dog/dog_01"}
    assert {name: ids[name] for name in NAMES} == shot_ids(results[0])
    sidecar = objectid.read_sidecar(combined.sidecar)
    assert {r.name: r.frames for r in sidecar.objects}["/dog/dog_01"] == ((1003, 1006),)
    assert [source["prompts"] for source in sidecar.extra["sources"]] == [["person, car"]] * 2


@pytest.mark.parametrize("priority", ["first", "last", "share"])
def test_where_coverages_exceed_one_the_stated_priority_decides(tmp_path, priority):
    results = two_results(tmp_path)
    one, other = mattes(tmp_path / "a", 1003), mattes(tmp_path / "b", 1003)["/dog/dog_01"]
    total = sum(one.values())
    assert (total + other).max() > 1.5

    combine(results, tmp_path / "c", priority=priority)

    found = mattes(tmp_path / "c", 1003)
    if priority == "first":
        factor, rest = np.ones_like(total), np.minimum(other, 1 - total)
    elif priority == "last":
        factor = np.minimum(1, (1 - other) / np.maximum(total, 1e-9))
        rest = other
    else:
        factor = 1 / np.maximum(total + other, 1)
        rest = other * factor
    assert np.abs(found["/dog/dog_01"] - rest).max() <= 2 * HALF
    for name, matte in one.items():
        assert np.abs(found[name] - matte * factor).max() <= 2 * HALF
    assert sum(found.values()).max() <= 1 + HALF


@pytest.mark.parametrize(
    ("same_name", "expected"),
    [
        ("merge", {*NAMES, "/dog/dog_01"}),
        ("number", {*NAMES, "/dog/dog_01", "/car/car_02"}),
    ],
)
def test_a_name_in_both_is_merged_or_numbered_on(tmp_path, same_name, expected):
    results = two_results(tmp_path, ("/car/car_01", "/dog/dog_01"))

    combined = combine(results, tmp_path / "c", same_name=same_name)

    assert set(shot_ids(combined)) == expected
    one, other = mattes(tmp_path / "a", 1003), mattes(tmp_path / "b", 1003)
    found = mattes(tmp_path / "c", 1003)
    left = 1 - sum(one.values())
    second = np.minimum(1, left / np.maximum(sum(other.values()), 1e-9)) * other["/car/car_01"]
    if same_name == "merge":
        assert np.abs(found["/car/car_01"] - one["/car/car_01"] - second).max() <= 2 * HALF
    else:
        assert np.abs(found["/car/car_02"] - second).max() <= 2 * HALF


def test_results_that_do_not_fit_are_refused_and_leave_nothing(tmp_path):
    results = two_results(tmp_path, ("/car/car_01",))

    with pytest.raises(objectid.RequestError, match="Two results have an object '/car/car_01'"):
        combine(results, tmp_path / "c")
    with pytest.raises(objectid.RequestError, match="at least two"):
        combine(results[:1], tmp_path / "c")
    with pytest.raises(objectid.RequestError, match="not empty"):
        combine(results, tmp_path / "a", same_name="merge")
    small = encode({"/x": np.ones((4, 4), np.float32)})
    objectid.write_frame(
        tmp_path / "d" / "objectid" / "shot.1001.exr",
        small.frame,
        manifest={"/x": small.frame.present[0]},
    )
    with pytest.raises(objectid.RequestError, match="results of one plate"):
        combine([results[0], objectid.find_result(tmp_path / "d")], tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d"]


def test_combining_with_processes_gives_the_same_bytes(tmp_path):
    results = two_results(tmp_path)

    combine(results, tmp_path / "c")
    combine(results, tmp_path / "d", processes=2)

    assert content(tmp_path / "c") == content(tmp_path / "d")
