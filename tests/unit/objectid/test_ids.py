from __future__ import annotations

import random

import pytest

import objectid
from objectid.ids import LARGEST_ID, murmur3_32

# Published test values of MurmurHash3_x86_32, and both examples of the Cryptomatte specification.
KNOWN = [
    (b"", 0, 0x00000000),
    (b"", 1, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"!Ce\x87", 0, 0xF55B516B),
    (b"!Ce", 0, 0x7E4A8634),
    (b"!C", 0, 0xA0F7B07A),
    (b"!", 0, 0x72661CF4),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    ("ππππππππ".encode(), 0x9747B28C, 0xD58063C1),
    (b"hello", 0, 0x248BFA47),
]


@pytest.mark.parametrize(("data", "seed", "expected"), KNOWN)
def test_murmur_gives_the_published_values(data, seed, expected):
    assert murmur3_32(data, seed) == expected


def test_an_id_is_the_hash_of_the_name_within_24_bits():
    name = "/person/person_01"

    ids = objectid.object_ids([name])

    assert ids == {name: 1 + murmur3_32(name.encode()) % LARGEST_ID}
    assert 1 <= ids[name] <= LARGEST_ID == 2**24 - 1


def colliding_names() -> tuple[str, str]:
    seen: dict[int, str] = {}
    for number in range(100_000):
        name = f"/a/a_{number}"
        identity = objectid.object_id(name)
        if identity in seen:
            return seen[identity], name
        seen[identity] = name
    raise AssertionError("no collision among 100 000 names")


def test_when_two_names_collide_then_the_later_in_byte_order_gets_the_next_free_id():
    first, second = sorted(colliding_names())

    ids = objectid.object_ids([second, first])

    assert ids[first] == objectid.object_id(first)
    assert ids[second] == objectid.object_id(first) + 1


def test_when_a_collision_is_in_the_reference_then_both_keep_what_they_have():
    first, second = sorted(colliding_names())
    only_second = objectid.object_ids([second])

    ids = objectid.object_ids([first, second], only_second)

    assert ids[second] == objectid.object_id(second)
    assert ids[first] == objectid.object_id(second) + 1
    assert objectid.object_ids([second, first], ids) == ids


def test_an_id_of_a_lost_object_is_not_given_to_another():
    first, second = sorted(colliding_names())
    reference = {first: objectid.object_id(first)}

    ids = objectid.object_ids([second], reference)

    assert ids == {second: objectid.object_id(first) + 1}


def test_ids_go_round_at_the_largest_one():
    name = "/z"
    own = objectid.object_id(name)
    reference = {f"/taken_{i}": i for i in range(own, own + 50)}
    reference |= {"/last": LARGEST_ID}

    assert objectid.object_ids([name], reference)[name] == own + 50
    assert objectid.object_ids(["/z"], {"/z": LARGEST_ID}) == {"/z": LARGEST_ID}


def test_ids_do_not_depend_on_the_order_of_names():
    names = [f"/person/person_{i:03d}" for i in range(300)]
    shuffled = list(names)
    random.Random(4).shuffle(shuffled)

    assert objectid.object_ids(names) == objectid.object_ids(shuffled)


def test_ten_thousand_names_get_distinct_ids():
    ids = objectid.object_ids(f"/crowd/crowd_{i:05d}" for i in range(10_000))

    assert len(set(ids.values())) == 10_000


@pytest.mark.parametrize(
    "name", ["", "person", "/person/", "//person", "/a//b", "/", "/a\nb", "/a\x7f", "/\ud800"]
)
def test_a_malformed_name_is_refused(name):
    with pytest.raises(objectid.RequestError, match="Object name"):
        objectid.object_ids([name])


@pytest.mark.parametrize("name", ["/人/人_01", "/a b/c,d", "/می‌خواهم", "/" + "x" * 300])
def test_a_name_in_any_script_is_taken(name):
    assert objectid.check_name(name) == name


def test_the_same_name_twice_is_refused():
    with pytest.raises(objectid.RequestError, match="given twice"):
        objectid.object_ids(["/a", "/a"])


@pytest.mark.parametrize("reference", [{"/a": 0}, {"/a": 2**24}, {"/a": 1, "/b": 1}])
def test_a_reference_with_bad_ids_is_refused(reference):
    with pytest.raises(objectid.RequestError, match="distinct ids"):
        objectid.object_ids(["/c"], reference)


def test_colours_are_stable_and_neither_dark_nor_bright():
    for number in range(500):
        red, green, blue = colour = objectid.object_colour(f"/person/person_{number}")
        assert colour == objectid.object_colour(f"/person/person_{number}")
        assert 0.1 <= 0.2126 * red + 0.7152 * green + 0.0722 * blue <= 0.5
        assert 0 <= min(colour)
        assert max(colour) <= 1
