"""From object names to object ids, and to the colour an object is drawn in.

An id is a 24-bit hash of the name: Nuke turns every deep channel into float32, which holds whole
numbers up to 2^24, and equal names get equal ids in all shots and versions without a shared table.
Hashes can collide, so the manifest, not the hash, is the truth.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping

from objectid.errors import RequestError

LARGEST_ID = (1 << 24) - 1
"""The greatest object id; 0 means nothing."""
LONGEST_NAME_BYTES = 1024

_MASK = 0xFFFFFFFF
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """MurmurHash3_x86_32, the hash that Cryptomatte and the OpenEXR id manifest use.

    Args:
        data: bytes of any length.
        seed: 0..2^32 - 1.

    Returns:
        0..2^32 - 1.
    """
    state = seed & _MASK
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        state = (state << 13 | state >> 19) & _MASK
        state = (state * 5 + 0xE6546B64) & _MASK
    state ^= _mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state ^= state >> 16
    state = (state * 0x85EBCA6B) & _MASK
    state ^= state >> 13
    state = (state * 0xC2B2AE35) & _MASK
    return state ^ state >> 16


def _mixed(block: int) -> int:
    block = (block * 0xCC9E2D51) & _MASK
    block = (block << 15 | block >> 17) & _MASK
    return (block * 0x1B873593) & _MASK


def check_name(name: str) -> str:
    """The name itself, if a writer may use it.

    A name is a path of levels, ``/person/person_01``: it begins with a slash, has no empty level
    and no control characters.

    Raises:
        RequestError: the name is not of that form.
    """
    if not name.startswith("/") or "//" in name or name.endswith("/"):
        raise RequestError(
            f"Object name {name!r} is not a path of levels. Begin it with '/', end it without "
            "one, and leave no level empty: '/person/person_01'."
        )
    if any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in name):
        raise RequestError(f"Object name {name!r} holds a control character; remove it.")
    try:
        size_bytes = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise RequestError(f"Object name {name!r} is not valid Unicode text.") from None
    if size_bytes > LONGEST_NAME_BYTES:
        raise RequestError(
            f"Object name {name[:40]!r}… has {size_bytes} bytes; at most {LONGEST_NAME_BYTES}."
        )
    return name


def object_id(name: str) -> int:
    """The id a name gets where nothing else has it.

    Args:
        name: any text; hashed as UTF-8.

    Returns:
        1..LARGEST_ID: ``1 + murmur3_32(name) mod (2^24 - 1)``.
    """
    return 1 + murmur3_32(name.encode("utf-8")) % LARGEST_ID


def object_ids(names: Iterable[str], reference: Mapping[str, int] | None = None) -> dict[str, int]:
    """Ids of all objects of a shot.

    Names known to the reference keep its ids. The others are taken in byte order and get the id
    of their hash or, if that is taken, the next free one, going round at LARGEST_ID. Every id of
    the reference stays reserved, also of names that are gone.

    Args:
        names: distinct names, in any order; they do not influence the ids by their order.
        reference: name → id of an earlier result of the same shot.

    Returns:
        name → id, in byte order of the names.

    Raises:
        RequestError: a name is malformed or given twice, or the reference has a bad id.
    """
    kept = dict(reference or {})
    taken = set(kept.values())
    if len(taken) != len(kept) or any(not 1 <= number <= LARGEST_ID for number in taken):
        raise RequestError(f"The reference needs distinct ids within 1..{LARGEST_ID}.")
    wanted = sorted((check_name(name) for name in names), key=str.encode)
    table: dict[str, int] = {}
    for name in wanted:
        if name in table:
            raise RequestError(f"Object name {name!r} is given twice.")
        number = kept.get(name)
        if number is None:
            number = object_id(name)
            if len(taken) >= LARGEST_ID:
                raise RequestError(f"More than {LARGEST_ID} objects have no ids.")
            while number in taken:
                number = number % LARGEST_ID + 1
            taken.add(number)
        table[name] = number
    return table


def object_colour(name: str) -> tuple[float, float, float]:
    """The colour an object is drawn in, the same in every file.

    Args:
        name: the object's name.

    Returns:
        Linear Rec. 709 red, green, blue within 0..1, luminance 0.1..0.5.
    """
    digest = murmur3_32(name.encode("utf-8"), seed=1)
    hue, strength = (digest & 0xFFFF) / 0x10000, (digest >> 16 & 0xFF) / 255
    luminance = 0.12 + 0.36 * (digest >> 24) / 255
    rgb = colorsys.hsv_to_rgb(hue, 0.6 + 0.4 * strength, 1.0)
    own = sum(weight * part for weight, part in zip(_LUMINANCE, rgb))
    if own >= luminance:
        red, green, blue = (part * luminance / own for part in rgb)
    else:
        white = (luminance - own) / (1 - own)
        red, green, blue = (part + white * (1 - part) for part in rgb)
    return red, green, blue
