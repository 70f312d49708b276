"""Filler words and dictation: what goes, what stays, and what becomes of the sentences around it."""

from __future__ import annotations

import pytest

from pipeline.options import Options
from pipeline.wording import reword
from tests.pipeline.formats.transcripts import transcript, word
from tests.pipeline.wording.rewording import said, spoken, texts


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("So uh I um think", "So I think"),
        ("Um, so I think.", "So I think."),
        ("That is it, um.", "That is it."),
        ("That is it. Uh. Yes.", "That is it. Yes."),
        ("Uhhh ummm uhm no", "No"),
        ("Erm, no", "Erm, no"),
        ("I was um... going home.", "I was going home."),
        ("I was, um… I was home.", "I was, I was home."),
        ("So, um... yes.", "So, yes."),
        ("That is it, um... The next.", "That is it... The next."),
        ("I was, um...", "I was..."),
        ('"Um, no," he said.', '"No," he said.'),
        ('He said, "Um."', "He said."),
        ('He said, "um, no."', 'He said, "no."'),
        ('He said, "Um, no."', 'He said, "No."'),
        ('"No, um," he said.', '"No," he said.'),
        ('"I think so, um." She left.', '"I think so." She left.'),
        ('He said "no," um.', 'He said "no."'),
        ("It is (um) late.", "It is late."),
        ("It is (um, rather) late.", "It is (rather) late."),
        ("Was it, um, uh?", "Was it?"),
        ("Uh-huh, mhm.", "Uh-huh, mhm."),
        ("UM is a university", "UM is a university"),
        ("um", ""),
        ("Is it, um?", "Is it?"),
        ("the uhlan and the umbrella", "the uhlan and the umbrella"),
    ],
)
def test_fillers_are_left_out_unless_asked_for(heard: str, written: str) -> None:
    """ "uh" and "um" go, as Deepgram documents it; answers stay; a sentence keeps its capital and its stop."""
    assert said(heard) == written
    assert said(heard, filler_words=True) == heard


@pytest.mark.parametrize(
    ("language", "text"), [("de", "Um zehn Uhr"), ("pt-BR", "um homem"), (None, "um"), ("nl", "uh ja")]
)
def test_fillers_are_english(language: str | None, text: str) -> None:
    """``um`` is a word in German and Portuguese: nothing goes where the language is another, or not known."""
    assert said(text, language=language) == text


def test_the_language_of_a_word_counts_before_its_channels() -> None:
    """In a recording of several languages each word is treated as its own."""
    words = (
        word("um", 0.0).model_copy(update={"language": "pt"}),
        word("um", 1.0).model_copy(update={"language": "en"}),
        word("shit", 2.0).model_copy(update={"language": "en"}),
    )
    made = reword(transcript(words, language="pt"), Options(profanity_filter=True))
    assert texts(made) == "um ****"
    assert [one.message for one in made.warnings] == ["In pt nothing is masked."]


def test_a_translation_is_english() -> None:
    """With ``task=translate`` the words are English, whatever was spoken."""
    assert said("um twenty five", language="de", task="translate", numerals=True) == "25"


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        (
            "a headache comma nausea comma and vomiting period they report",
            "a headache, nausea, and vomiting. They report",
        ),
        ("really question mark yes exclamation point", "really? Yes!"),
        ("first colon second semicolon third full stop", "first: second; third."),
        ("it ends new line then new paragraph more", "it ends. Then. More"),
        ("it ends. New paragraph. More", "it ends. More"),
        ("he said open quote go close quote comma loudly", "he said “go”, loudly"),
        ("yes, comma, no. Period.", "yes, no."),
        ("comma first", "comma first"),
        ("dash it all", "dash it all"),
        ("well hyphen known", "well-known"),
        ("well hyphen known comma yes", "well-known, yes"),
        ("it is well hyphen", "it is well-"),
        ("a question, mark my words", "a question, mark my words"),
        ("new lines of the period's question", "new lines of the period's question"),
        ("open parenthesis", "open parenthesis"),
    ],
)
def test_dictation(heard: str, written: str) -> None:
    """Spoken signs stand at the word before them, in place of what the model put there; a stop makes a capital."""
    assert said(heard, dictation=True) == written
    assert said(heard) == heard


def test_a_command_is_said_by_one_speaker() -> None:
    """Neither its two words nor the word that its sign stands at are another speaker's: nothing is lost."""
    words = tuple(
        word(text, start).model_copy(update={"speaker": speaker})
        for text, start, speaker in [("Full", 0.0, 0), ("stop", 60.0, 1), ("comma", 61.0, 0), ("no", 62.0, 0)]
    )
    made = reword(transcript(words), Options(dictation=True))
    assert texts(made) == "Full stop comma no"
    assert texts(reword(spoken("a full | stop there"), Options(dictation=True))) == "a full stop there"  # nor apart


def test_a_filler_leaves_nothing_to_another_speaker() -> None:
    """Its capital, quote and stop pass to words of the one who said it, or go with it."""
    words = tuple(
        word(text, start).model_copy(update={"speaker": speaker})
        for text, start, speaker in [("yes", 0.0, 0), ("“Um.", 1.0, 1), ("no", 2.0, 0)]
    )
    assert texts(reword(transcript(words), Options())) == "yes no"


def test_dictation_without_punctuation_is_told() -> None:
    """Where the model does not punctuate, the words stay, and ``metadata.warnings`` says so."""
    made = reword(spoken("one comma two", punctuated=False), Options(dictation=True))
    assert texts(made) == "one comma two"
    assert [(one.parameter, one.type) for one in made.warnings] == [("dictation", "unsupported_model")]
