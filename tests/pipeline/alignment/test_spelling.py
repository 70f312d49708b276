"""Words to tokens: what the alphabet has is spelt, what it lacks is a wildcard, what is not said is left out."""

from __future__ import annotations

import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.alignment.spelling import WILDCARD, Alphabet

LOWER = Alphabet({letter: nth for nth, letter in enumerate(" " + string.ascii_lowercase + "'")}, blank=28, separator=0)
UPPER = Alphabet({letter: nth for nth, letter in enumerate("|" + string.ascii_uppercase)}, blank=27, separator=0)
GERMAN = Alphabet({letter: nth for nth, letter in enumerate(string.ascii_lowercase + "äöüß")}, blank=30)


def shown(alphabet: Alphabet, text: str) -> str:
    letters = {column: label for label, column in alphabet.labels.items()} | {WILDCARD: "*"}
    return "".join(letters[token] for token in alphabet.spell(text).tokens)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello,", "hello"),
        ("«naïve»", "naive"),
        ("Crème", "creme"),
        ("Straße", "strasse"),
        ("Ærø", "aero"),
        ("don’t", "don't"),
        ("twenty-one", "twentyone"),
        ("ﬁn", "fin"),
        ("Ｈｉ", "hi"),
        ("1984.", "*"),
        ("$5", "*"),
        ("5%", "*"),
        ("mp3s", "mp*s"),
        ("AT&T", "at*t"),
        ("½", "*"),
        ("Жук", "*"),
        ("東京tower", "*tower"),
        ("fire🔥", "fire"),
        ("x\u0336y\u0336", "xy"),
        ("…", "*"),
        ("", "*"),
    ],
)
def test_spelling(text: str, tokens: str) -> None:
    """Case, accents, ligatures and typographic forms fold; each run of the unknown is one wildcard; a word without any
    sound is one, too.
    """
    assert shown(LOWER, text) == tokens


def test_letters_that_the_alphabet_has_are_kept() -> None:
    """German's own letters are not folded away where the model can hear them, decomposed ones neither."""
    assert shown(GERMAN, "Größe") == "größe"
    assert shown(GERMAN, "a\u0308hnlich") == "ähnlich"


def test_upper_case_alphabets() -> None:
    """Columns named by capital letters hear lower-case words; an apostrophe that is not among them is dropped."""
    assert shown(UPPER, "Don't") == "DONT"


def test_cased_alphabets() -> None:
    """A model that has columns for both hears a capital as a capital."""
    both = Alphabet({letter: nth for nth, letter in enumerate(string.ascii_letters)}, blank=52)
    assert shown(both, "Éva") == "Eva"


def test_subwords() -> None:
    """A model of subwords has its tokenizer asked for each stretch of known letters."""
    asked: list[str] = []

    def pieces(text: str) -> list[int]:
        asked.append(text)
        return [100 + len(text)]

    alphabet = Alphabet(dict.fromkeys(string.ascii_lowercase, 0), blank=0, pieces=pieces)
    assert alphabet.spell("Mp3-Player!").tokens == (102, WILDCARD, 106)
    assert asked == ["mp", "player"]


def test_counts() -> None:
    """Letters, figures and unknown letters are counted for the cap on a word's length and the share of the foreign."""
    spelt = LOWER.spell("Ж1a2!")
    assert (spelt.letters, spelt.figures, spelt.unknown, spelt.wild) == (2, 2, 1, False)
    assert LOWER.spell("42").wild


@given(text=st.text(max_size=12))
def test_any_text(text: str) -> None:
    """Whatever the text, there are tokens, all of them columns or wildcards, and never two wildcards in a row."""
    for alphabet in (LOWER, UPPER, GERMAN):
        tokens = alphabet.spell(text).tokens
        assert tokens
        assert all(token == WILDCARD or 0 <= token < len(alphabet.labels) for token in tokens)
        assert (WILDCARD, WILDCARD) not in pairwise(tokens)
