"""Word and character errors against a recursive distance and cases by hand."""

import math
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqkit.metrics import (
    EditCount,
    character_edits,
    character_error_rate,
    normalise_transcript,
    word_edits,
    word_error_rate,
)
from vqkit.metrics.transcripts import edit_distance

LETTERS = st.text("ab c", max_size=7)


def recursive_distance(a: str, b: str) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        )

    return distance(len(a), len(b))


class TestDistance:
    @given(LETTERS, LETTERS)
    def test_equals_the_recursion(self, a, b):
        assert edit_distance(a, b) == recursive_distance(a, b)

    @given(LETTERS, LETTERS, LETTERS)
    def test_is_a_metric(self, a, b, c):
        assert edit_distance(a, b) == edit_distance(b, a)
        assert (edit_distance(a, b) == 0) == (a == b)
        assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)

    def test_known_words(self):
        assert edit_distance("kitten", "sitting") == 3
        assert edit_distance(["a", "bc"], ["a", "b", "c"]) == 2


class TestRates:
    @pytest.mark.parametrize(
        ("hypothesis", "reference", "errors", "words"),
        [
            ("the cat sat", "the cat sat", 0, 3),
            ("the bat sat", "the cat sat", 1, 3),
            ("the sat", "the cat sat", 1, 3),
            ("the cat it sat", "the cat sat", 1, 3),
            ("", "the cat sat", 3, 3),
            ("a b c d", "x", 4, 1),
        ],
    )
    def test_words(self, hypothesis, reference, errors, words):
        assert word_edits(hypothesis, reference) == EditCount(errors, words)
        assert word_error_rate(hypothesis, reference) == errors / words

    def test_characters(self):
        assert character_edits("a bd", "a  bc!") == EditCount(1, 4)
        assert character_error_rate("a bd", "a  bc!") == 0.25

    def test_as_it_stands(self):
        assert word_error_rate("The cat.", "the cat", normalise=False) == 1
        assert character_error_rate("The cat", "the cat", normalise=False) == 1 / 7

    def test_a_set_is_pooled(self):
        total = word_edits("a", "b") + word_edits("a b c d", "a b c d")
        assert total == EditCount(1, 5)
        assert total.rate == 0.2

    def test_nothing_expected_has_no_rate_but_counts_in_a_set(self):
        assert math.isnan(word_error_rate("", ""))
        assert math.isnan(word_error_rate("a", "..."))
        assert (word_edits("a", "...") + word_edits("b", "b")).rate == 1


class TestNormalisation:
    @pytest.mark.parametrize(
        ("text", "normal"),
        [
            ("  One,\ttwo\n three. ", "one two three"),
            ("DON'T \u2018quote\u2019 rock 'n' roll", "don't quote rock n roll"),
            ("don\u2019t", "don't"),
            ("well-known", "well known"),
            ("Stra\u00dfe \uff21", "strasse a"),
            ("re\u0301sume\u0301", "r\u00e9sum\u00e9"),
            ("na\u00efve 5% \u0967\u0968", "na\u00efve 5 \u0967\u0968"),
            ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928\u092e\u0938\u094d\u0924\u0947"),
            ("'", ""),
            ("a'", "a"),
            ("\u2026!?", ""),
        ],
    )
    def test_cases(self, text, normal):
        assert normalise_transcript(text) == normal

    @given(st.text(max_size=30))
    def test_again_changes_nothing(self, text):
        once = normalise_transcript(text)
        assert normalise_transcript(once) == once
        assert once == once.strip()
        assert "  " not in once
