import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.text import bare, join
from pipeline.formats.words import ResultWord, median_confidence, result_words
from pipeline.types import Word
from tests.pipeline.formats import real_responses

FORMATTED = [name for name in real_responses.NAMES if name != "dg_whisper_transcription.json"]


@pytest.mark.parametrize("name", FORMATTED)
def test_bare_words_are_deepgrams(name: str) -> None:
    """``word`` made from ``punctuated_word`` is the ``word`` of the real response."""
    words = real_responses.words(name)
    assert [bare(word.text) for word in words] == [word.word for word in words]


@pytest.mark.parametrize("name", real_responses.NAMES)
def test_transcripts_are_deepgrams(name: str) -> None:
    """The words joined are the real response's transcript."""
    assert join(word.text for word in real_responses.words(name)) == real_responses.alternative(name)["transcript"]


@pytest.mark.parametrize("name", real_responses.NAMES)
def test_an_alternatives_confidence_is_that_of_a_median_word(name: str) -> None:
    """Ours and the real one are within one rank of each other among the words' confidences."""
    words = real_responses.words(name)
    ranked = sorted(round(word.confidence, 7) for word in words)
    real = ranked.index(round(real_responses.alternative(name)["confidence"], 7))
    assert abs(ranked.index(round(median_confidence(words), 7)) - real) <= 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("I'll", "i'll"),
        ("“Well,”", "well"),
        ("all-female.", "all-female"),
        ("3.5", "3.5"),
        ("10:30,", "10:30"),
        ("50%.", "50%"),
        ("AT&T", "at&t"),
        ("C#", "c#"),
        ("f***", "f***"),
        ("«\u00a0Bonjour\u00a0»", "bonjour"),
        ("¿Qué?", "qué"),
        ("Straße!", "straße"),
        ("की।", "की"),
        ("$5,000.", "$5,000"),
        ("—", "—"),
        ("...", "..."),
    ],
)
def test_edges_are_stripped_and_inner_signs_kept(text: str, word: str) -> None:
    """Only punctuation at the edges goes; letters, combining marks and units never do."""
    assert bare(text) == word


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_a_word_is_never_empty(text: str) -> None:
    """Whatever a backend writes, ``word`` has text, and stripping it again changes nothing."""
    assert bare(text) != ""
    assert bare(bare(text)) == bare(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["Hello", "world."], "Hello world."),
        (["今天", "天气", "很", "好。"], "今天天气很好。"),
        (["我", "用", "iPhone", "Pro", "手机"], "我用iPhone Pro手机"),
        (["สวัสดี", "ครับ"], "สวัสดีครับ"),
        (["안녕", "하세요"], "안녕 하세요"),
        ([], ""),
    ],
)
def test_scripts_without_spaces_are_joined_without(words: list[str], text: str) -> None:
    """A transcript reads as its language is written."""
    assert join(words) == text


def _word(text: str, speaker: int | None, at: float = 0.0) -> Word:
    return Word(text=text, start=at, end=at + 0.1, confidence=0.5, speaker=speaker)


def test_speakers_count_from_zero_by_first_appearance() -> None:
    """Consumers crash on a first speaker that is not 0 and on words without one: neither comes out."""
    words = result_words(
        [_word("a", None), _word("b", 7), _word("c", None), _word("d", 2), _word("e", 7)], formatted=True
    )
    assert [word.speaker for word in words] == [0, 0, 0, 1, 0]


def test_no_speakers_stay_none() -> None:
    """Without a diarizer no word gets a speaker."""
    assert [word.speaker for word in result_words([_word("a", None), _word("b", None)], formatted=True)] == [None, None]


def test_empty_words_are_left_out_and_an_end_before_its_start_is_mended() -> None:
    """No word without text and none of negative length reaches a result."""
    backwards = Word(text=" Hi ", start=2.0, end=1.0, confidence=1)
    assert result_words([_word("  ", 1), backwards], formatted=True) == [ResultWord("hi", "Hi", 2.0, 2.0, 1.0)]


def test_unformatted_mode_is_lower_case_without_punctuation() -> None:
    """Without formatting there is no ``punctuated_word`` and the text is the bare word."""
    (word,) = result_words([_word("Yeah,", None)], formatted=False)
    assert (word.punctuated, word.text) == (None, "yeah")
