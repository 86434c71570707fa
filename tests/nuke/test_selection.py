from hypothesis import given, settings
from hypothesis import strategies as st

from nuke_plugin import selection
from objectid.filter import compile_filter

IDS = {
    "/person/person_01": 11,
    "/person/person_02": 12,
    "/person/person_03": 900,
    "/car/car_01": 13,
    "/hero": 70,
    "/hero/dress": 71,
    '/odd "name", <x>': 72,
}
TERMS = ["person", "-person_03", "car*", "<13>", "-<12>", "**", "-/hero", "hero/dress", "-car", "x"]


def picked(text):
    return set(compile_filter(text).select(IDS))


def test_a_pick_is_written_by_name():
    assert selection.add("", 11, IDS) == "/person/person_01"
    assert selection.add("car", 11, IDS) == "car, /person/person_01"


def test_a_pick_of_an_excluded_object_takes_the_exclusion_away():
    assert selection.add("person, -person_03", 900, IDS) == "person"
    assert picked(selection.add("person, -person*", 900, IDS)) == {900}


def test_a_pick_of_a_parent_does_not_pick_what_lies_below_it():
    assert selection.add("", 70, IDS) == "<70>"


def test_removing_an_object_from_a_wildcard_excludes_it():
    assert selection.remove("person", 12, IDS) == "person, -/person/person_02"


def test_removing_the_last_object_leaves_an_empty_list():
    assert selection.remove("/car/car_01", 13, IDS) == ""
    assert selection.remove("/car/car_01, -person", 13, IDS) == ""


def test_adding_the_only_object_that_was_taken_away_picks_everything():
    assert picked(selection.add("-/car/car_01", 13, IDS)) == set(IDS.values())


def test_a_name_that_is_not_known_is_picked_by_its_id():
    assert selection.add("", 4242, {}) == "<4242>"
    assert selection.remove("<4242>", 4242, {}) == ""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TERMS), max_size=4), st.sampled_from(sorted(IDS.values())))
def test_add_and_remove_change_exactly_one_object(terms, number):
    text = ", ".join(terms)
    assert picked(selection.add(text, number, IDS)) == picked(text) | {number}
    assert picked(selection.remove(text, number, IDS)) == picked(text) - {number}


LEVELS = ["/person", "/person/person_02", "/car", "/hero", "/hero/dress"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TERMS), max_size=4), st.sampled_from(LEVELS))
def test_ticking_a_level_changes_exactly_what_lies_below_it(terms, level):
    text = ", ".join(terms)
    members = set(selection.below(level, IDS))
    assert picked(selection.add_tree(text, level, IDS)) == picked(text) | members
    assert picked(selection.remove_tree(text, level, IDS)) == picked(text) - members


def test_ticking_a_parent_is_written_as_the_parent():
    assert selection.add_tree("person_01, car", "/person", IDS) == "car, /person"
    assert selection.remove_tree("car, /person", "/person", IDS) == "car"
    assert selection.remove_tree("**", "/person", IDS) == "**, -/person"
