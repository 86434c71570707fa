"""Captions and token spans, by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from server.errors import PromptError
from server.models.caption import build_captions, clean_category, span_scores


def whole_words(text: str) -> list[tuple[int, int]]:
    """A tokenizer with one token per word or stop, and a special one at either end."""
    words = [match.span() for match in re.finditer(r"\w+|\.", text)]
    return [(0, 0), *words, (0, 0)]


def split_words(text: str) -> list[tuple[int, int]]:
    """A tokenizer that cuts every word after two letters."""
    tokens = [match.span() for match in re.finditer(r"\w{1,2}|\.", text)]
    return [(0, 0), *tokens, (0, 0)]


def test_a_caption_separates_categories_by_stops() -> None:
    (caption,) = build_captions(("person", "red car"), whole_words)

    assert caption.text == "person . red car ."
    assert caption.spans == ((1, 2), (3, 5))
    assert caption.indices == (0, 1)


def test_stops_and_question_marks_inside_a_category_are_removed() -> None:
    # Both cut the text a detector reads: "st. bernard" would become two things.
    assert clean_category("  St. Bernard? ") == "st bernard"
    (caption,) = build_captions(("St. Bernard?", "dog"), whole_words)

    assert caption.text == "st bernard . dog ."
    assert caption.spans == ((1, 3), (4, 5))


def test_a_split_word_counts_with_all_its_pieces() -> None:
    (caption,) = build_captions(("person", "car"), split_words)

    assert caption.spans == ((1, 4), (5, 7))
    probabilities = np.zeros((1, 9), np.float32)
    probabilities[0, 3] = 0.7  # the last piece of "person"
    assert span_scores(probabilities, caption.spans).tolist() == [[pytest.approx(0.7), 0.0]]


def test_a_box_over_two_phrases_still_has_one_score_for_each() -> None:
    # Read as a phrase this box would be called "person car".
    (caption,) = build_captions(("person", "car"), whole_words)
    probabilities = np.array([[0.9, 0.6, 0.3, 0.5, 0.2, 0.9]], np.float32)

    scores = span_scores(probabilities, caption.spans)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [[0.6, 0.5]])


def test_special_tokens_and_stops_never_name_a_box() -> None:
    (caption,) = build_captions(("person",), whole_words)
    probabilities = np.array([[0.9, 0.1, 0.9, 0.9]], np.float32)

    np.testing.assert_allclose(span_scores(probabilities, caption.spans), [[0.1]])


def test_a_category_inside_another_ones_words_has_its_own_span() -> None:
    (caption,) = build_captions(("car", "red car", "car door"), whole_words)

    assert caption.spans == ((1, 2), (3, 5), (6, 8))


def test_a_list_too_long_for_one_caption_is_split_in_order() -> None:
    categories = tuple(f"thing {number}" for number in range(25))
    captions = build_captions(categories, whole_words, most_tokens=32)

    assert [index for caption in captions for index in caption.indices] == list(range(25))
    assert all(len(whole_words(caption.text)) <= 32 for caption in captions)
    assert len(captions) == 3
    assert captions[1].text.startswith("thing 10 . ")
    assert captions[1].spans[0] == (1, 3)


def test_a_category_too_long_for_any_caption_is_an_error() -> None:
    with pytest.raises(PromptError, match=r"has 43 tokens, a detector reads 32\. Use fewer words"):
        build_captions(("person", "very " * 39 + "long"), whole_words, most_tokens=32)


@pytest.mark.parametrize("nothing", ["...", "? .", " "])
def test_a_category_without_words_is_an_error(nothing: str) -> None:
    with pytest.raises(PromptError, match="no word a detector could look for"):
        build_captions(("person", nothing), whole_words)
