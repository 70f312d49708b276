"""Whatever is said and asked for: no crash, no lost time, no empty word; formatting twice is formatting once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats.deepgram import results_part
from pipeline.options import Options
from pipeline.types import Transcript, Word
from pipeline.wording import reword
from tests.pipeline.formats.transcripts import transcript, transcripts
from tests.pipeline.wording.rewording import spoken, texts

_VOCABULARY = """
zero one two five nine ten twelve nineteen twenty thirty ninety hundred thousand million billion trillion
and point oh o a first second third twentieth hundredth dollars dollar cents euros percent per cent am pm
p m o'clock november may march of the at to or dot com gmail john slash email underscore www page EV
number couple one-third twenty-five twenties eighties grams miles hour feet square degrees celsius per um
uh comma period new line paragraph open quote question mark shit you know 5 20 1,000 $5 50% 9:30 555-1234
3rd 5.5 x.com a@x.com 1980s ½ |
"""
_SAID = _VOCABULARY.split()
_EDGES = st.sampled_from(["", "", "", "", ",", ".", "?", '"', "…"])
_PIECES = st.builds(lambda text, trail: text if text == "|" else text + trail, st.sampled_from(_SAID), _EDGES)
sentences = st.lists(_PIECES, max_size=14).map(" ".join)

_TERMS = st.sampled_from(["um", "you know", "five", "Hello", "new line", "a b c", "****", "50%", "", " "])
asked = st.builds(
    Options,
    punctuate=st.booleans(),
    smart_format=st.booleans(),
    numerals=st.booleans(),
    measurements=st.booleans(),
    dictation=st.booleans(),
    filler_words=st.booleans(),
    profanity_filter=st.booleans(),
    replace=st.lists(st.tuples(_TERMS, _TERMS), max_size=3).map(tuple),
    redact=st.sampled_from([(), ("numbers",)]),
    search=st.lists(_TERMS, max_size=3).map(tuple),
    task=st.sampled_from(["transcribe", "translate"]),
    utt_split=st.floats(min_value=1e-6, max_value=100),
)
heard = st.one_of(transcripts, sentences.map(spoken))
languages = st.sampled_from(["en", "de", "fr", "es", "pt", "nl", "it", "da", "sv", None])


def _check(before: Transcript, after: Transcript) -> None:
    for was, now in zip(before.channels, after.channels, strict=True):
        assert all(word.text for word in now.words if word.text not in {old.text for old in was.words})
        starts = {word.start for word in was.words}
        if was.words:
            first, last = min(starts), max(max(word.start, word.end) for word in was.words)
            assert all(first <= word.start and word.end <= last for word in now.words)
        assert all(one.start <= two.start for one, two in pairwise(now.words))
        if all(word.end >= word.start for word in was.words):
            assert all(word.end >= word.start for word in now.words)
        assert {word.speaker for word in now.words} <= {word.speaker for word in was.words}
        assert all(0 <= word.confidence <= 1 for word in now.words)


@settings(deadline=None)
@given(heard, asked)
def test_any_words_and_any_options(before: Transcript, options: Options) -> None:
    """Times stay in order and inside what was said; no speaker is made up; the result can be written."""
    after = reword(before, options)
    _check(before, after)
    for channel in after.channels:
        for word in channel.words:
            Word.model_validate(word.model_dump())
    results_part(after, options, "seed")


@settings(deadline=None)
@given(sentences, languages, st.booleans(), st.booleans(), st.booleans())
@example("twenty second of may second", "en", True, False, False)
def test_formatting_twice_is_formatting_once(
    text: str, language: str | None, smart_format: bool, numerals: bool, measurements: bool
) -> None:
    """What has been written in digits is left alone: a model that writes them itself loses nothing."""
    options = Options(smart_format=smart_format, numerals=numerals, measurements=measurements)
    once = reword(spoken(text, language=language), options)
    assert texts(reword(once, options)) == texts(once)


@settings(deadline=None)
@given(transcripts)
def test_without_options_nothing_changes(before: Transcript) -> None:
    """Text, times, confidences and speakers are those of the recogniser."""
    after = reword(before, Options(filler_words=True))
    assert after == before


@settings(deadline=None)
@given(sentences, st.booleans())
def test_words_of_two_speakers_are_never_merged(text: str, smart_format: bool) -> None:
    """With a change of speaker behind every word, each is still there, with its own times."""
    (channel,) = spoken(text).channels
    alternating = tuple(word.model_copy(update={"speaker": nth % 2}) for nth, word in enumerate(channel.words))
    options = Options(smart_format=smart_format, numerals=True, measurements=True, filler_words=True)
    (made,) = reword(transcript(alternating), options).channels
    assert [(word.start, word.end, word.speaker) for word in made.words] == [
        (word.start, word.end, word.speaker) for word in alternating
    ]


@settings(deadline=None)
@given(st.text(max_size=80), languages)
def test_any_text_in_any_language(text: str, language: str | None) -> None:
    """Any characters at all, in every language that has rules of its own."""
    options = Options(smart_format=True, measurements=True, redact=("numbers",), profanity_filter=True, dictation=True)
    made = reword(spoken(text, language=language), options)
    assert not any(sign.isdigit() for sign in texts(made) if sign.isascii())


def test_a_merged_word_has_the_first_start_the_last_end_and_the_mean_confidence() -> None:
    """In float32, as an utterance's is; speaker and language are those of all of its words."""
    words = tuple(
        Word(text=text, start=nth, end=nth + 0.75, confidence=sure, speaker=3, speaker_confidence=sure, language="en")
        for nth, (text, sure) in enumerate([("one", 0.1), ("hundred", 0.2), ("five,", 0.4)])
    )
    (channel,) = reword(transcript(words), Options(numerals=True)).channels
    (one,) = channel.words
    assert one.text == "105,"
    assert (one.start, one.end, one.speaker, one.language) == (0, 2.75, 3, "en")
    assert one.confidence == one.speaker_confidence == 0.23333333432674408
