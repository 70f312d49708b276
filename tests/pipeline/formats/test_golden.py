"""From ``words`` alone, utterances and paragraphs must equal those that Deepgram itself made."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from pipeline.formats.deepgram import results_part
from pipeline.formats.paragraphs import paragraphs, transcript
from pipeline.formats.utterances import utterances
from pipeline.formats.words import ResultWord
from pipeline.options import Options
from pipeline.types import ChannelTranscript, MediaInfo, Transcript, Word
from tests.pipeline.formats import real_responses
from tests.pipeline.formats.transcripts import MODEL

# What a response is the golden rule for: it has utterances, or paragraphs, and words that they are made of.
WITH_UTTERANCES = [name for name in real_responses.NAMES if "utterances" in real_responses.results(name)]
WITH_PARAGRAPHS = [name for name in real_responses.NAMES if "paragraphs" in real_responses.alternative(name)]


def _made(name: str) -> Any:
    """Results made from nothing but the words of a response, in the form of `real_responses.literally`."""
    heard = tuple(
        Word(text=one.text, start=one.start, end=one.end, confidence=one.confidence, speaker=one.speaker,
             speaker_confidence=one.speaker_confidence)
        for one in real_responses.words(name)
    )  # fmt: skip
    media = MediaInfo(duration=1.0, channels=1, container="wav", codec="pcm_s16le")
    made = Transcript(media=media, channels=(ChannelTranscript(words=heard),), punctuated=True, model=MODEL)
    return real_responses.literally(results_part(made, Options(), "seed").decode())


def test_golden_responses_are_there() -> None:
    """Two responses with utterances and four with paragraphs: an empty comparison cannot pass."""
    assert WITH_UTTERANCES == ["dg_speakers.json", "dg_utterances.json"]
    assert WITH_PARAGRAPHS == [
        "dg_speakers.json", "dg_speakers_no_utterances.json", "dg_utterances.json", "go_bfae00.json",
    ]  # fmt: skip
    for name in {
        *WITH_UTTERANCES,
        *WITH_PARAGRAPHS,
    }:  # consistent with themselves: the same words in all of their parts
        alternative = real_responses.alternative(name)
        spoken = [word for one in real_responses.results(name).get("utterances", ()) for word in one["words"]]
        assert spoken in ([], alternative["words"]), name
        parts = alternative["paragraphs"]["paragraphs"]
        assert sum(one["num_words"] for one in parts) == len(alternative["words"]), name


@pytest.mark.parametrize("name", WITH_UTTERANCES)
def test_utterances_are_deepgrams(name: str, record_property: Callable[[str, object], None]) -> None:
    """Boundaries, times, confidences, transcripts, words and speakers, in the order of the keys and to the last digit:
    all as the response has them, but for the random ids.
    """
    real, ours = real_responses.literally(real_responses.text(name))["results"]["utterances"], _made(name)["utterances"]
    record_property("utterance boundaries", len(real) - 1)
    assert [list(one) for one in ours] == [list(one) for one in real]
    for one in (*real, *ours):
        assert str(UUID(one.pop("id")))
    assert real_responses.written(ours) == real_responses.written(real)


@pytest.mark.parametrize("name", WITH_PARAGRAPHS)
def test_paragraphs_are_deepgrams(name: str, record_property: Callable[[str, object], None]) -> None:
    """Sentences, paragraphs, speakers and the labelled transcript, in the order of the keys and to the last digit: all
    as the response has them.
    """
    real = real_responses.literally(real_responses.text(name))["results"]["channels"][0]["alternatives"][0][
        "paragraphs"
    ]
    ours = _made(name)["channels"][0]["alternatives"][0]["paragraphs"]
    record_property("sentence boundaries", sum(len(one["sentences"]) for one in real["paragraphs"]) - 1)
    assert real_responses.written(ours) == real_responses.written(real)


def test_every_boundary_is_found_and_none_is_invented() -> None:
    """The boundaries of all responses by count, ours and theirs, printed with -s: 26 between utterances, 20 between
    paragraphs, 58 between sentences.
    """
    found = Counter[str]()
    for name in WITH_UTTERANCES:
        real = real_responses.results(name)["utterances"]
        starts = [[float(one["start"]) for one in part][1:] for part in (real, _made(name)["utterances"])]
        assert starts[0] == starts[1]
        found["utterances"] += len(starts[1])
    for name in WITH_PARAGRAPHS:
        real = real_responses.alternative(name)["paragraphs"]["paragraphs"]
        ours = _made(name)["channels"][0]["alternatives"][0]["paragraphs"]["paragraphs"]
        for parts in (real, ours):
            assert len(parts) == len(real)
        found["paragraphs"] += len(ours) - 1
        found["sentences"] += sum(len(one["sentences"]) for one in ours) - 1
    print("golden: boundaries of", ", ".join(f"{kind} {count}" for kind, count in sorted(found.items())))
    assert found == {"utterances": 26, "paragraphs": 20, "sentences": 58}


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
