from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import objectid
from objectid import FilterError, compile_filter, quote

SHOT = {
    "/person/person_01": 1,
    "/person/person_02": 2,
    "/car/car_01": 3,
    "/hero/dress": 4,
    "/hero/dress/left": 5,
    "/a/b": 6,
    "/a/x/b": 7,
    "odd one": 8,
}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        (" ,\t, ", []),
        ("person", [1, 2]),
        ("/person", [1, 2]),
        ("/pers", []),
        ("person_01", [1]),
        ("person*", [1, 2]),
        ("person_01 car_01", [1, 3]),
        ("person_01,car_01", [1, 3]),
        ("**_01", [1, 3]),
        ("/*_01", []),
        ("/*/*_01", [1, 3]),
        ("*", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("/", [1, 2, 3, 4, 5, 6, 7]),
        ("person, -person_02", [1]),
        ("-person_02 person", [1]),
        ("-person", [3, 4, 5, 6, 7, 8]),
        ("hero/dress", [4, 5]),
        ("/hero/*", [4, 5]),
        ("/hero/dress/*", [5]),
        ("/hero/dress/", [4, 5]),
        ("/a/b", [6]),
        ("/a/*/b", [7]),
        ("/a/**/b", [6, 7]),
        ("**/b", [6, 7]),
        ('"odd one"', [8]),
        ("odd\\ one", [8]),
        ('odd" "one', [8]),
        ('"odd*"', []),
        ("Person", []),
        ("<3>", [3]),
        ("<3> <99>", [3, 99]),
        ("* -<3>", [1, 2, 4, 5, 6, 7, 8]),
        ("<3> -car", []),
        ("<99> -<99>", []),
    ],
)
def test_the_grammar_by_example(text, ids):
    assert list(compile_filter(text).select(SHOT)) == ids


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ('a "b', 2, "not closed"),
        ("-", 0, "right behind"),
        ("a - b", 2, "right behind"),
        ("  <x>", 2, "<123>"),
        ("a***", 1, "no wildcard"),
        ("a>", 1, "quotes"),
        ("a<1>", 1, "quotes"),
        ("<1>b", 3, "ends a term"),
        ("x\\", 1, "nothing to quote"),
        ('car ""', 4, "empty"),
        ('-"" car', 0, "empty"),
        ("<99999999999>", 0, "<123>"),
    ],
)
def test_an_error_knows_its_position(text, position, reason):
    with pytest.raises(FilterError, match=reason) as caught:
        compile_filter(text)

    assert caught.value.position == position
    assert f"character {position + 1}" in str(caught.value)
    caret = str(caught.value).splitlines()[-1]
    assert caret.index("^") - 4 == position


def test_a_very_long_filter_is_refused():
    with pytest.raises(FilterError, match="characters"):
        compile_filter("a " * 100_000)


def test_names_come_in_the_order_given():
    assert compile_filter("*").match(["/b", "/a", "/c"]) == ["/b", "/a", "/c"]


def test_a_raw_id_finds_the_name_where_ids_are_given():
    assert compile_filter("<3>").match(SHOT) == ["/car/car_01"]
    assert compile_filter("<3>").match(list(SHOT)) == []


def test_terms_that_find_nothing_are_named():
    found = compile_filter("person, dgo -<3> -<77>").unmatched(SHOT)

    assert [(term.text, term.excludes) for term in found] == [("dgo", False), ("<77>", True)]


# --- against a slow matcher that tries everything ------------------------------------------------

STAR, DEEP = "*", "**"
Token = tuple  # ("literal", sign) or ("wild", "*" | "**")


def slow_match(tokens: list[Token], name: str) -> bool:
    """Whether a pattern matches a name, by trying every way."""
    if tokens == [("literal", "/")]:
        return name.startswith("/")
    if tokens[-1] == ("literal", "/"):
        tokens = tokens[:-1]

    @functools.cache
    def rest(index: int, position: int) -> bool:
        if index == len(tokens):
            return position == len(name) or name[position] == "/"
        kind, sign = tokens[index]
        if kind == "literal":
            return name[position : position + 1] == sign and rest(index + 1, position + 1)
        whole_level = tokens[index + 1 : index + 2] == [("literal", "/")] and (
            index == 0 or tokens[index - 1] == ("literal", "/")
        )
        if sign == DEEP and whole_level and rest(index + 2, position):
            return True
        for end in range(position, len(name) + 1):
            if sign == STAR and "/" in name[position:end]:
                return False
            if rest(index + 1, end):
                return True
        return False

    if tokens[0] == ("literal", "/"):
        return rest(0, 0)
    starts = [0] + [i + 1 for i, sign in enumerate(name) if sign == "/"]
    return any(rest(0, start) for start in starts)


def written(tokens: list[Token]) -> str:
    """The tokens as filter text."""
    out = []
    for kind, sign in tokens:
        if kind == "wild" or sign in "ab/é":
            out.append(sign)
        elif sign == '"':
            out.append('\\"')
        else:
            out.append(f'"{sign}"')
    return "".join(out)


literals = st.tuples(st.just("literal"), st.sampled_from('ab/ab/ab-*, "<é'))
wilds = st.tuples(st.just("wild"), st.sampled_from([STAR, DEEP]))


def apart(tokens: list[Token]) -> bool:
    return all(
        one[0] == "literal" or other[0] == "literal" for one, other in itertools.pairwise(tokens)
    )


patterns = st.lists(st.one_of(literals, literals, wilds), min_size=1, max_size=9).filter(
    lambda tokens: apart(tokens) and tokens[0] != ("literal", "-")
)
names = st.lists(st.sampled_from('ab/ab/ab-*, "<é'), min_size=1, max_size=12).map("".join)


@settings(max_examples=600, deadline=None)
@given(patterns, st.lists(names, max_size=6), st.lists(names, max_size=3))
def test_a_pattern_matches_as_the_slow_matcher_says(tokens, some, more):
    for name in [*some, *("/" + name for name in more)]:
        assert bool(compile_filter(written(tokens)).match([name])) == slow_match(tokens, name)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(patterns, st.booleans()), min_size=1, max_size=4),
    st.lists(names, max_size=8, unique=True),
)
def test_a_filter_takes_what_is_included_less_what_is_excluded(terms, some):
    text = ", ".join(("-" if excludes else "") + written(tokens) for tokens, excludes in terms)
    includes = [tokens for tokens, excludes in terms if not excludes]
    excluded = [tokens for tokens, excludes in terms if excludes]
    expected = [
        name
        for name in some
        if (not includes or any(slow_match(tokens, name) for tokens in includes))
        and not any(slow_match(tokens, name) for tokens in excluded)
    ]

    assert compile_filter(text).match(some) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_a_filter_error(text):
    position = 0
    try:
        compile_filter(text).select(SHOT)
    except FilterError as error:
        position = error.position
    assert 0 <= position <= len(text)


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_a_quoted_name_is_found(name):
    if not name.strip("/") or name.endswith("/"):
        return
    assert compile_filter(quote(name)).match([name]) == [name]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("*a" * 30 + "b", "/" + "a" * 2000),
        ("**a" * 30 + "b", "/" + "a/" * 1000),
        ("**a*aa**a*aaa*a**b", "/" + "a/" * 1000),
        ("/" + "*a/" * 20 + "b", "/" + "a/" * 500),
    ],
)
@pytest.mark.timeout(20)
def test_a_hostile_filter_takes_no_exponential_time(text, name):
    assert compile_filter(text).match([name]) == []


def test_the_error_is_one_of_this_package():
    assert issubclass(FilterError, objectid.ObjectIdError)
