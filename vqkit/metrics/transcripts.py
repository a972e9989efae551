"""Errors of transcripts: word and character error rate by Levenshtein's distance."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "EditCount",
    "character_edits",
    "character_error_rate",
    "edit_distance",
    "normalise_transcript",
    "word_edits",
    "word_error_rate",
]

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'"})


@dataclass(frozen=True)
class EditCount:
    """Errors against a reference; the sum of several is that of a whole set.

    Example:
        >>> total = word_edits("a b", "a c") + word_edits("d", "d")
        >>> total.num_errors, total.num_expected, round(total.rate, 3)
        (1, 3, 0.333)
    """

    num_errors: int
    """Substitutions, deletions and insertions, the fewest that make one of the other."""
    num_expected: int
    """Words or characters of the reference."""

    @property
    def rate(self) -> float:
        """Errors per expected word or character: 0 at best, above 1 with many insertions.

        Without any it is NaN.
        """
        return self.num_errors / self.num_expected if self.num_expected else float("nan")

    def __add__(self, other: "EditCount") -> "EditCount":
        return EditCount(self.num_errors + other.num_errors, self.num_expected + other.num_expected)


def word_error_rate(hypothesis: str, reference: str, *, normalise: bool = True) -> float:
    """Errors per word of the reference, after :func:`normalise_transcript`.

    Over a set, papers divide all errors by all words: add up :func:`word_edits` instead of
    averaging rates.

    Example:
        >>> word_error_rate("The cat sat", "the cat sat down.")
        0.25
    """
    return word_edits(hypothesis, reference, normalise=normalise).rate


def character_error_rate(hypothesis: str, reference: str, *, normalise: bool = True) -> float:
    """Errors per character of the reference, single spaces included."""
    return character_edits(hypothesis, reference, normalise=normalise).rate


def word_edits(hypothesis: str, reference: str, *, normalise: bool = True) -> EditCount:
    """Errors and words, to be added up over a set."""
    if normalise:
        hypothesis, reference = map(normalise_transcript, (hypothesis, reference))
    words = reference.split()
    return EditCount(edit_distance(hypothesis.split(), words), len(words))


def character_edits(hypothesis: str, reference: str, *, normalise: bool = True) -> EditCount:
    """Errors and characters, to be added up over a set."""
    if normalise:
        hypothesis, reference = map(normalise_transcript, (hypothesis, reference))
    return EditCount(edit_distance(hypothesis, reference), len(reference))


def normalise_transcript(text: str) -> str:
    """Words alone: small letters, no punctuation, single spaces.

    Unicode NFKC, then case folding; an apostrophe between letters or digits stays, every other
    character that is no letter, mark or digit separates words. Numbers and abbreviations are not
    spelled out, which Whisper's normaliser does: its rates are others.

    Example:
        >>> normalise_transcript("It's 5 o'clock -- don't \u201cwait\u201d!")
        "it's 5 o'clock don't wait"
    """
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).casefold()
    kept = (
        character if _is_of_word(character) or _joins(text, place) else " "
        for place, character in enumerate(text)
    )
    return " ".join("".join(kept).split())


def edit_distance(hypothesis: Sequence[object], reference: Sequence[object]) -> int:
    """Fewest substitutions, deletions and insertions from one to the other (Levenshtein)."""
    row = list(range(len(reference) + 1))
    for place, found in enumerate(hypothesis, start=1):
        diagonal, row[0] = row[0], place
        for column, expected in enumerate(reference, start=1):
            substituted = diagonal + (found != expected)
            diagonal = row[column]
            row[column] = min(substituted, row[column] + 1, row[column - 1] + 1)
    return row[-1]


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _joins(text: str, place: int) -> bool:
    """Whether an apostrophe stands between characters of one word."""
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return text[place] == "'" and len(around) == 2 and all(map(_is_of_word, around))
