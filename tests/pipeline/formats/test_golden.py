"""From ``words`` alone, utterances and paragraphs must equal those that Deepgram itself made."""

import json
from typing import Any

import pytest

from pipeline.formats.numbers import number
from pipeline.formats.paragraphs import Paragraph, paragraphs, transcript
from pipeline.formats.utterances import utterances
from pipeline.formats.words import ResultWord
from tests.pipeline.formats import real_responses

WITH_UTTERANCES = ["dg_speakers.json", "dg_utterances.json"]
WITH_PARAGRAPHS = ["dg_speakers.json", "dg_speakers_no_utterances.json", "dg_utterances.json", "go_bfae00.json"]


@pytest.mark.parametrize("name", WITH_UTTERANCES)
def test_utterances_are_deepgrams(name: str) -> None:
    """Boundaries, times, confidences to the last digit, transcripts, speakers: all as in the response but the id."""
    words = real_responses.words(name)
    raw = real_responses.alternative(name)["words"]
    made = [
        {
            "start": number(one.start),
            "end": number(one.end),
            "confidence": number(one.confidence),
            "channel": 0,
            "transcript": one.transcript,
            "words": raw[one.first : one.stop],
            **({} if one.speaker is None else {"speaker": one.speaker}),
        }
        for one in utterances(words, 0.8)
    ]
    real = json.loads(real_responses.text(name))["results"]["utterances"]
    for one in real:
        del one["id"]
        for part in ("start", "end", "confidence"):
            one[part] = number(one[part])
    assert made == real


def test_every_boundary_is_found_and_none_is_invented() -> None:
    """The 26 boundaries of the responses, by count, so that an empty comparison cannot pass."""
    assert sum(len(list(utterances(real_responses.words(name), 0.8))) - 1 for name in WITH_UTTERANCES) == 26


@pytest.mark.parametrize("name", WITH_PARAGRAPHS)
def test_paragraphs_are_deepgrams(name: str) -> None:
    """Sentences, paragraphs, speakers and the labelled transcript: all as in the response."""
    found = list(paragraphs(real_responses.words(name)))
    made = {"transcript": transcript(found), "paragraphs": [_as_dict(one) for one in found]}
    assert made == _rewritten(real_responses.alternative(name)["paragraphs"])


def _as_dict(one: Paragraph) -> dict[str, Any]:
    return {
        "sentences": [{"text": s.text, "start": number(s.start), "end": number(s.end)} for s in one.sentences],
        **({} if one.speaker is None else {"speaker": one.speaker}),
        "num_words": one.num_words,
        "start": number(one.start),
        "end": number(one.end),
    }


def _rewritten(value: Any) -> Any:
    """Floats as text, so that float32 and double compare."""
    if isinstance(value, dict):
        return {name: _rewritten(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rewritten(part) for part in value]
    return number(value) if isinstance(value, float) else value


def _at(start: float, text: str = "a", speaker: int | None = None, end: float | None = None) -> ResultWord:
    return ResultWord(text.lower(), text, start, start if end is None else end, 1.0, speaker)


def test_a_gap_of_exactly_the_split_does_not_split() -> None:
    """The comparison is greater-than, from start to start: a long word's length counts into the gap."""
    assert len(list(utterances([_at(0.0), _at(0.8)], 0.8))) == 1
    assert len(list(utterances([_at(0.0, end=0.99), _at(1.0)], 0.8))) == 2


def test_a_change_of_speaker_does_not_split_an_utterance_and_the_majority_names_it() -> None:
    """Speakers play no part in utterances' boundaries; the speaker is who has most words, the earlier one on a tie."""
    (one,) = utterances([_at(0.0, speaker=0), _at(0.1, speaker=1), _at(0.2, speaker=1)], 0.8)
    assert one.speaker == 1
    (one,) = utterances([_at(0.0, speaker=1), _at(0.1, speaker=0)], 0.8)
    assert one.speaker == 1


def test_an_utterance_lasts_until_its_last_word_has_ended() -> None:
    """Overlapping words are kept, and a long one is not cut off by a short one that starts later."""
    (one,) = utterances([_at(0.0, end=3.0), _at(0.5, end=0.7)], 0.8)
    assert (one.start, one.end) == (0.0, 3.0)


def test_a_paragraph_has_five_sentences_at_most() -> None:
    """The sixth sentence of one speaker opens a new paragraph, without a new label."""
    words = [_at(float(n), "Yes.", speaker=0) for n in range(6)]
    found = list(paragraphs(words))
    assert [len(one.sentences) for one in found] == [5, 1]
    assert transcript(found) == "\nSpeaker 0: Yes. Yes. Yes. Yes. Yes.\n\nYes."


def test_closing_quotes_do_not_hide_a_full_stop() -> None:
    """A sentence ends at its stop even when a quote or bracket follows; other scripts' stops count too."""
    words = [_at(0.0, "“Go!”"), _at(1.0, "好。"), _at(2.0, "So,"), _at(3.0, "yes")]
    assert [s.text for one in paragraphs(words) for s in one.sentences] == ["“Go!”", "好。", "So, yes"]


def test_without_punctuation_sentences_end_at_pauses() -> None:
    """Text that nobody punctuated still comes in readable pieces, not in one endless sentence."""
    words = [_at(0.0, "one"), _at(0.5, "two"), _at(3.0, "three")]
    assert [s.text for one in paragraphs(words, pause=0.8) for s in one.sentences] == ["one two", "three"]
    assert [s.text for one in paragraphs(words) for s in one.sentences] == ["one two three"]


def test_no_words_make_nothing() -> None:
    """Silence has neither utterances nor paragraphs."""
    assert list(utterances([], 0.8)) == []
    assert list(paragraphs([])) == []
