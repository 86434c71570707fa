"""From object ids to the text of a DeepExpression.

The picker's mask is a *colour* channel: each sample that is picked writes its alpha to red, and
the alpha itself stays as it is. DeepToImage then composites with over, so red becomes the visible
share of the picked samples, also behind soft edges of others; zeroing the alphas of the others
would take away what they hide. Green gets the same for all objects that are not picked.
"""

from __future__ import annotations

from collections.abc import Iterable

ID_CHANNELS = ("other.id", "objectid.id", "other.Id")
"""How Nuke may call the id channel of a file: ``id``, ``objectid.id`` and openexrid's ``Id``."""
DIMMED = 0.15
"""Brightness of what is not picked in the false-colour preview, 0..1."""


def ranges(ids: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring ids, both ends included, ascending.

    Ids between two objects are never swallowed, even if the shot has none there: a deep merge
    with another shot may bring them in.
    """
    result: list[tuple[int, int]] = []
    for value in sorted(set(ids)):
        if result and value == result[-1][1] + 1:
            result[-1] = (result[-1][0], value)
        else:
            result.append((value, value))
    return result


def id_test(ids: Iterable[int], *, channel: str) -> str:
    """An expression that is true on the samples of the given objects, and on no others.

    Args:
        ids: object ids, 1 to 2^24 − 1: float32 channels hold them exactly.
        channel: full name of the id channel.

    Raises:
        ValueError: an id is out of range.
    """
    terms = []
    for first, last in ranges(ids):
        if not 1 <= first <= last < 1 << 24:
            raise ValueError(
                f"Object ids lie between 1 and {(1 << 24) - 1}, found {first}..{last}. "
                "The file is not an ObjectId file of profile 1."
            )
        if first == last:
            terms.append(f"{channel} == {first}")
        elif last == first + 1:
            terms.append(f"{channel} == {first} || {channel} == {last}")
        else:
            terms.append(f"({channel} >= {first} && {channel} <= {last})")
    return " || ".join(terms) or "0"


def filter_knobs(ids: Iterable[int], *, channel: str) -> dict[str, str]:
    """Knob values of the DeepExpression that makes the matte: knob name → text.

    Red becomes the coverage of the picked objects, green that of all others (background, id 0, is
    in neither).
    """
    return {
        "temp_name0": "picked",
        "temp_expr0": id_test(ids, channel=channel),
        "rgba.red": "picked ? rgba.alpha : 0",
        "rgba.green": f"({channel} != 0 && !picked) ? rgba.alpha : 0",
        "rgba.blue": "0",
    }


def preview_knobs(ids: Iterable[int], *, channel: str) -> dict[str, str]:
    """Knob values of the DeepExpression behind the preview: picked objects keep their colour."""
    knobs = {"temp_name0": "picked", "temp_expr0": id_test(ids, channel=channel)}
    for colour in ("red", "green", "blue"):
        knobs[f"rgba.{colour}"] = f"picked ? rgba.{colour} : rgba.{colour} * {DIMMED}"
    return knobs


def matte_knob(ids: Iterable[int], *, channel: str) -> str:
    """The text for one colour channel of ObjectIdMultiMatte."""
    return f"({id_test(ids, channel=channel)}) ? rgba.alpha : 0"
