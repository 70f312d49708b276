"""``search``: exact hits and such as are spelled alike, in Deepgram's shape."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.deepgram import results_part
from pipeline.formats.search import LEAST, MOST_ALIKE, Index
from pipeline.formats.words import ResultWord, result_words
from pipeline.options import Options
from tests.pipeline.formats.transcripts import transcript, word


def _words(text: str) -> list[ResultWord]:
    return result_words([word(piece, float(nth)) for nth, piece in enumerate(text.split())], formatted=True)


def test_a_phrase_is_found_whatever_its_case_and_punctuation() -> None:
    """An exact hit has confidence 1, the first word's start, the last one's end, and the words as they are written."""
    hits = Index(_words("We love New York, and new York. News, Yorkshire!")).hits("new york")
    assert [tuple(hit) for hit in hits][:2] == [(1.0, 2.0, 3.25, "New York,"), (1.0, 5.0, 6.25, "new York.")]
    assert all(hit.confidence < 1 for hit in hits[2:])


def test_what_is_spelled_alike_comes_after_what_is_exact() -> None:
    """Exact hits first, then the others by likeness; what is not alike enough is no hit."""
    hits = Index(_words("epistomology, an apple, epistemology and episodes")).hits("epistemology")
    assert [hit.snippet for hit in hits] == ["epistemology", "epistomology,"]
    assert hits[0].confidence == 1.0 > hits[1].confidence >= LEAST
    assert Index(_words("nothing of that kind")).hits("epistemology") == []


def test_hits_do_not_share_words_and_the_inexact_ones_are_few() -> None:
    """ "ha ha ha" has "ha ha" once; beyond ten hits that are only alike there is no more to learn."""
    assert [hit.start for hit in Index(_words("ha ha ha")).hits("ha ha")] == [0.0]
    assert len(Index(_words("summers " * 30)).hits("summer")) == MOST_ALIKE
    assert len(Index(_words("summer " * 30)).hits("summer")) == 30


def test_results_have_every_term_in_order_for_each_channel() -> None:
    """A term without hits has an empty list; without the option there is no ``search`` at all."""
    heard = transcript((word("Hello,", 1.0), word("world.", 2.0)), (word("Nothing.", 0.0),))
    results = json.loads(results_part(heard, Options(search=("world", "moon")), "seed"))
    assert [channel["search"] for channel in results["channels"]] == [
        [
            {"query": "world", "hits": [{"confidence": 1.0, "start": 2.0, "end": 2.25, "snippet": "world."}]},
            {"query": "moon", "hits": []},
        ],
        [{"query": "world", "hits": []}, {"query": "moon", "hits": []}],
    ]
    assert "search" not in json.loads(results_part(heard, Options(), "seed"))["channels"][0]


@given(st.lists(st.sampled_from(["one", "two", "ones", "two,", "—", "好。"]), max_size=10), st.text(max_size=10))
def test_any_term(said: list[str], term: str) -> None:
    """Hits lie in the recording, the surest first; a term that is said is found."""
    words = _words(" ".join(said))
    hits = Index(words).hits(term)
    assert [hit.confidence for hit in hits] == sorted((hit.confidence for hit in hits), reverse=True)
    assert all(LEAST <= hit.confidence <= 1 and 0 <= hit.start < hit.end for hit in hits)
    for one in words:
        assert any(hit.confidence == 1.0 for hit in Index(words).hits(one.text))
