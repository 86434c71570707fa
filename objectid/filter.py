r"""The filter language: which objects a text such as ``person*, -person_03`` picks.

    filter    = [separator] [term {separator term}] [separator]
    separator = one or more of space, tab, line break, ","
    term      = ["-"] (raw-id | pattern)
    raw-id    = "<" digit {digit} ">"
    pattern   = piece {piece}
    piece     = "*" | "**" | quoted | escaped | plain
    quoted    = '"' {any character but '"' and "\", or escaped} '"'
    escaped   = "\" any character
    plain     = any character but separators, "*", '"', "\", "<", ">"

* ``*`` stands for any characters within a level, ``**`` also for slashes; ``/**/`` also for ``/``.
* A pattern that begins with ``/`` starts at the top, any other one at the start of any level.
* A pattern that matches a level selects everything below it. One slash at its end says nothing.
* The result is what any term without ``-`` selects, less what any term with ``-`` selects, in
  whatever order they stand; with ``-`` terms only, all objects less those; with no term, nothing.
* Case matters. Quoted and escaped characters stand for themselves.

Patterns become one regular expression that never backtracks into a ``*`` or ``**`` it has left
(earliest match first is enough for globs), so a hostile filter cannot take exponential time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Union

from objectid.errors import FilterError

LONGEST_FILTER = 1 << 16
"""Most characters of a filter text."""

_SEPARATORS = " \t\r\n\f\v,"
_STAR, _DEEP_STAR, _LEVELS = object(), object(), object()
_Piece = Union[str, object]


@dataclass(frozen=True)
class Term:
    """One term of a filter text."""

    text: str
    """The term as written, without a leading minus."""
    position: int
    """0-based position in the filter text."""
    excludes: bool
    """Whether it takes away."""
    raw_id: int | None = None
    """The id of a ``<123>`` term."""
    expression: str = field(default="", repr=False)
    """Regular expression of a pattern term, to be matched at a name's start."""


@dataclass(frozen=True)
class Filter:
    """A filter text, compiled; made by ``compile_filter``."""

    text: str
    terms: tuple[Term, ...]
    _includes: re.Pattern[str] | None = field(repr=False, compare=False)
    _excludes: re.Pattern[str] | None = field(repr=False, compare=False)

    def match(self, names: Mapping[str, int] | Iterable[str]) -> list[str]:
        """The names that are picked, in the order given.

        Args:
            names: names, or name → id; only then can a ``<123>`` term find a name.
        """
        ids: Mapping[str, int] = names if isinstance(names, Mapping) else {}
        chosen, refused, take_all = self._raw_ids()
        includes = self._includes.match if self._includes else _never
        excludes = self._excludes.match if self._excludes else _never
        found = list(names) if take_all else [n for n in names if includes(n)]
        if chosen:
            by_pattern = set(found)
            found = [n for n in names if n in by_pattern or ids.get(n) in chosen]
        return [n for n in found if not excludes(n) and ids.get(n) not in refused]

    def select(self, ids: Mapping[str, int]) -> tuple[int, ...]:
        """The ids that are picked, ascending; raw ids also where no name is known for them.

        Args:
            ids: name → id, the manifest.
        """
        chosen, refused, _ = self._raw_ids()
        named = set(ids.values())
        picked = {ids[name] for name in self.match(ids)} | {i for i in chosen if i not in named}
        return tuple(sorted(picked - refused))

    def unmatched(self, ids: Mapping[str, int]) -> tuple[Term, ...]:
        """The terms that find no object of the manifest, most likely misspelt."""
        numbers = set(ids.values())
        return tuple(
            term
            for term in self.terms
            if (
                term.raw_id not in numbers
                if term.raw_id is not None
                else not any(map(re.compile(term.expression, re.DOTALL).match, ids))
            )
        )

    def _raw_ids(self) -> tuple[set[int], set[int], bool]:
        chosen = {t.raw_id for t in self.terms if t.raw_id is not None and not t.excludes}
        refused = {t.raw_id for t in self.terms if t.raw_id is not None and t.excludes}
        take_all = bool(self.terms) and all(term.excludes for term in self.terms)
        return chosen, refused, take_all


def compile_filter(text: str) -> Filter:
    """A filter text as something that picks names and ids.

    Args:
        text: see the grammar above; empty picks nothing.

    Raises:
        FilterError: the text does not follow the grammar; knows the position.
    """
    if len(text) > LONGEST_FILTER:
        raise FilterError(
            f"The filter has {len(text)} characters, at most {LONGEST_FILTER} are read.",
            text=text,
            position=LONGEST_FILTER,
        )
    terms = tuple(_terms(text))
    return Filter(text, terms, _joined(terms, excludes=False), _joined(terms, excludes=True))


def quote(name: str) -> str:
    """The filter text that picks exactly this name and what lies below it."""
    plain = name and not any(sign in name for sign in _SEPARATORS + '*"\\<>')
    if plain and name.startswith("/") and not name.endswith("/"):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _never(name: str) -> None:
    return None


def _joined(terms: Iterable[Term], *, excludes: bool) -> re.Pattern[str] | None:
    patterns = [t.expression for t in terms if t.excludes is excludes and t.raw_id is None]
    return re.compile("|".join(patterns), re.DOTALL) if patterns else None


def _terms(text: str) -> Iterator[Term]:
    position, groups = 0, count()
    while position < len(text):
        if text[position] in _SEPARATORS:
            position += 1
            continue
        start = position
        excludes = text[position] == "-"
        position += excludes
        if position == len(text) or text[position] in _SEPARATORS:
            raise _error(text, start, "'-' needs a name, a pattern or <id> right behind it")
        if text[position] == "<":
            number, position = _raw_id(text, position)
            yield Term(text[start + excludes : position], start, excludes, raw_id=number)
            continue
        pieces, position = _pieces(text, position)
        if not pieces:
            raise _error(text, start, "this name is empty")
        expression = _expression(pieces, groups)
        yield Term(text[start + excludes : position], start, excludes, expression=expression)


def _raw_id(text: str, start: int) -> tuple[int, int]:
    found = re.compile(r"<([0-9]{1,10})>").match(text, start)
    if found is None:
        raise _error(text, start, "'<' begins an id such as <123>; put a name with '<' in quotes")
    if found.end() < len(text) and text[found.end()] not in _SEPARATORS:
        raise _error(text, found.end(), "an id <123> ends a term; put a space or comma behind it")
    return int(found.group(1)), found.end()


def _pieces(text: str, position: int) -> tuple[list[_Piece], int]:
    """Characters and wildcards of one pattern, and the position behind it."""
    pieces: list[_Piece] = []
    quoted_at: int | None = None
    while position < len(text):
        sign = text[position]
        if sign == "\\":
            if position + 1 == len(text):
                raise _error(text, position, "'\\' at the end has nothing to quote")
            pieces.append(text[position + 1])
            position += 2
        elif sign == '"':
            quoted_at = position if quoted_at is None else None
            position += 1
        elif quoted_at is not None:
            pieces.append(sign)
            position += 1
        elif sign in _SEPARATORS:
            break
        elif sign in "<>":
            raise _error(text, position, f"'{sign}' inside a name has to stand in quotes")
        elif sign == "*":
            run = len(text) - position - len(text[position:].lstrip("*"))
            if run > 2:
                raise _error(text, position, "'***' is no wildcard; write '*' or '**'")
            pieces.append(_STAR if run == 1 else _DEEP_STAR)
            position += run
        else:
            pieces.append(sign)
            position += 1
    if quoted_at is not None:
        raise _error(text, quoted_at, "this quote is not closed")
    return pieces, position


def _expression(pieces: list[_Piece], groups: Iterator[int]) -> str:
    """The regular expression of a pattern.

    ``**`` parts a pattern into segments, ``*`` parts a segment into chunks. A segment behind ``**``
    is taken where it matches first, a chunk behind ``*`` likewise, and then left alone:
    ``(?=(?P<g>…))(?P=g)`` is how this is said before Python 3.11. Only the last wildcard may be
    tried on, because the level has to end behind it.
    """
    if pieces == ["/"]:
        return "/"
    if pieces[-1:] == ["/"]:
        pieces = pieces[:-1]
    if pieces[:1] != ["/"]:
        pieces = [_LEVELS, *pieces]
    segments: list[tuple[str, list[list[str]]]] = [("", [[]])]
    skip = False
    for index, piece in enumerate(pieces):
        if skip:
            skip = False
        elif isinstance(piece, str):
            segments[-1][1][-1].append(re.escape(piece))
        elif piece is _STAR:
            segments[-1][1].append([])
        else:
            skip = piece is _DEEP_STAR and _stands_for_levels(pieces, index)
            lead = "(?:.*?/)??" if skip or piece is _LEVELS else ".*?"
            segments.append((lead, [[]]))
    out = []
    for number, (lead, chunks) in enumerate(segments):
        texts = ["".join(chunk) for chunk in chunks]
        if number == len(segments) - 1:
            last = "" if len(texts) == 1 else "[^/]*?" + texts.pop()
            out.append(lead + _segment(texts, groups) + last + r"(?=/|\Z)")
        elif lead:
            out.append(_once(lead + _segment(texts, groups), groups))
        else:
            out.append(_segment(texts, groups))
    return "".join(out)


def _segment(chunks: list[str], groups: Iterator[int]) -> str:
    return chunks[0] + "".join(_once("[^/]*?" + chunk, groups) for chunk in chunks[1:])


def _once(expression: str, groups: Iterator[int]) -> str:
    group = f"g{next(groups)}"
    return f"(?=(?P<{group}>{expression}))(?P={group})"


def _stands_for_levels(pieces: list[_Piece], index: int) -> bool:
    return pieces[index - 1] in ("/", _LEVELS) and pieces[index + 1 : index + 2] == ["/"]


def _error(text: str, position: int, reason: str) -> FilterError:
    shown = text[max(0, position - 30) : position + 30].translate({9: " ", 10: " ", 13: " "})
    caret = " " * min(position, 30) + "^"
    return FilterError(
        f"Filter, character {position + 1}: {reason}.\n    {shown}\n    {caret}",
        text=text,
        position=position,
    )
