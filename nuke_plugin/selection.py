"""Editing a matte list, which stays the artist's own text: single objects in and out of it.

The text is a filter (see ``objectid.filter``); a pick changes as little of it as possible. Picks
are exact: an object that has others below it (``/hero`` beside ``/hero/dress``) is written as its
id, since its name would pick the others too.
"""

from __future__ import annotations

from collections.abc import Mapping

from objectid.filter import Term, compile_filter, quote


def add(text: str, number: int, ids: Mapping[str, int]) -> str:
    """The matte list with an object more.

    Args:
        text: the matte list.
        number: the object's id.
        ids: name → id of the shot.

    Raises:
        FilterError: the matte list cannot be read.
    """
    if number in compile_filter(text).select(ids):
        return text
    terms = compile_filter(text).terms
    kept: list[str] = []
    for term in terms:
        excluded = compile_filter(term.text).select(ids) if term.excludes else ()
        if number not in excluded:
            kept.append(_written(term))
        else:
            kept += [f"-{_exact(other, ids)}" for other in excluded if other != number]
    if terms and not kept:
        return "**"  # all but this one, and now this one too
    shorter = ", ".join(kept)
    if number in compile_filter(shorter).select(ids):
        return shorter
    return ", ".join([*kept, _exact(number, ids)])


def remove(text: str, number: int, ids: Mapping[str, int]) -> str:
    """The matte list without an object.

    Args:
        text: the matte list.
        number: the object's id.
        ids: name → id of the shot.

    Raises:
        FilterError: the matte list cannot be read.
    """
    if number not in compile_filter(text).select(ids):
        return text
    terms = compile_filter(text).terms
    kept = [
        _written(term)
        for term in terms
        if term.excludes or compile_filter(term.text).select(ids) != (number,)
    ]
    includes = [term for term in compile_filter(", ".join(kept)).terms if not term.excludes]
    if not includes and any(not term.excludes for term in terms):
        return ""  # what is left only takes away; it has nothing to take from any more
    shorter = ", ".join(kept)
    if number in compile_filter(shorter).select(ids):
        return ", ".join([*kept, f"-{_exact(number, ids)}"])
    return shorter


def add_tree(text: str, level: str, ids: Mapping[str, int]) -> str:
    """The matte list with everything at and below a level of the tree of names.

    Args:
        text: the matte list.
        level: ``/person`` or ``/person/person_01``.
        ids: name → id of the shot.

    Raises:
        FilterError: the matte list cannot be read.
    """
    members = set(below(level, ids))
    wanted = set(compile_filter(text).select(ids)) | members
    shorter = ", ".join([*_without_parts(text, members, ids), quote(level)])
    if set(compile_filter(shorter).select(ids)) == wanted:
        return shorter
    for number in sorted(members):
        text = add(text, number, ids)
    return text


def remove_tree(text: str, level: str, ids: Mapping[str, int]) -> str:
    """The matte list without anything at or below a level of the tree of names.

    Args:
        text: the matte list.
        level: ``/person`` or ``/person/person_01``.
        ids: name → id of the shot.

    Raises:
        FilterError: the matte list cannot be read.
    """
    members = set(below(level, ids))
    wanted = set(compile_filter(text).select(ids)) - members
    shorter = ", ".join(_without_parts(text, members, ids))
    if set(compile_filter(shorter).select(ids)) == wanted:
        return shorter
    whole = ", ".join(
        [*(_written(term) for term in compile_filter(text).terms), f"-{quote(level)}"]
    )
    if set(compile_filter(whole).select(ids)) == wanted:
        return whole
    for number in sorted(members):
        text = remove(text, number, ids)
    return text


def below(level: str, ids: Mapping[str, int]) -> list[int]:
    """Ids of the objects at and below a level of the tree of names."""
    return [n for name, n in ids.items() if name == level or name.startswith(level + "/")]


def _without_parts(text: str, members: set[int], ids: Mapping[str, int]) -> list[str]:
    """The terms of a matte list, less those that pick nothing but the given objects."""
    kept = []
    for term in compile_filter(text).terms:
        picked = set(compile_filter(term.text).select(ids))
        if term.excludes or not picked or not picked <= members:
            kept.append(_written(term))
    return kept


def _exact(number: int, ids: Mapping[str, int]) -> str:
    name = next((n for n, value in ids.items() if value == number), "")
    if not name or compile_filter(quote(name)).select(ids) != (number,):
        return f"<{number}>"
    return quote(name)


def _written(term: Term) -> str:
    return f"-{term.text}" if term.excludes else term.text
