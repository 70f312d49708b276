"""Words to cues: what stands on the screen together, from when to when. The rules are in docs/decisions/0015.

Takes each channel's words (`spoken`), gives cues in the order of time that never overlap. Every word is in exactly one
cue. Knows nothing of files.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from pipeline.formats.captions.layout import COLUMNS, Row, breaking_well, ends_sentence, width
from pipeline.formats.captions.spoken import Channels, Spoken, Voice, runs

# Milliseconds, after Netflix's and the BBC's guides.
LEAST = 834  # 5/6 s
MOST = 7_000
GAP = 84  # two frames at 24 a second
CHAIN = 500  # a shorter gap is closed to the one above
LINGER = 1_500  # how long after the last word a cue stays for slow readers
FLOOR = 200  # what a cue gets even if far too much is said at once
PAUSE = 800  # a silence that ends a cue
RATE = 17  # columns a second that can be read

_SPACIOUS = 78  # columns that two lines hold in practice, broken between words


class Line(NamedTuple):
    """``label``: the name that goes before the text, where the voice is another than on the line before."""

    text: str
    voice: Voice
    label: str | None = None


class Cue(NamedTuple):
    """Times in whole milliseconds, start < end. ``dashed``: each line is another voice's."""

    start: int
    end: int
    lines: tuple[Line, ...]
    dashed: bool = False


class _Piece(NamedTuple):
    """Words that stand together. ``row`` is that of their whole run; they are ``first`` up to ``stop`` of it."""

    start: int
    end: int
    voice: Voice
    row: Row
    first: int
    stop: int
    label: str | None

    @property
    def width(self) -> int:
        return self.row.width(self.first, self.stop)


def cues(channels: Channels, names: Mapping[Voice, str] = {}) -> Iterator[Cue]:
    """``names``: what to put before a voice's words where the voice changes; its columns are kept free."""
    pieces = heapq.merge(*(_pieces(words, names) for words in channels), key=attrgetter("start"))
    yield from _timed(_paired(pieces))


# ── what stands together ─────────────────────────────────────────────────────────────────────────────────────────────


def _pieces(words: Sequence[Spoken], names: Mapping[Voice, str]) -> Iterator[_Piece]:
    """In order of their start, as the words are."""
    for run in runs(words, PAUSE):
        label = names.get(run[0].voice)
        row = Row([word.text for word in run], width(f"{label}: ") if label else 0)
        ends = _sentence_ends(row.texts)
        first = 0
        while first < len(run):
            stop = _stop(run, row, ends, first)
            own = run[first:stop]
            end = max(word.end for word in own)
            yield _Piece(own[0].start, end, own[0].voice, row, first, stop, label)
            first = stop


def _sentence_ends(texts: Sequence[str]) -> list[int]:
    """For each word where its sentence stops."""
    ends, stop = [0] * len(texts), len(texts)
    for place in range(len(texts) - 1, -1, -1):
        if ends_sentence(texts[place]):
            stop = place + 1
        ends[place] = stop
    return ends


def _stop(run: Sequence[Spoken], row: Row, ends: Sequence[int], first: int) -> int:
    """Where the cue that begins at ``first`` stops: after its sentence, if that fits, and the next one's if it would be
    gone too soon; else at the best place that leaves the rest of the sentence in even parts.
    """
    limit = _limit(run, row, first)
    stop = ends[first]
    if stop > limit:
        return _part(run, row, first, stop, limit)
    while stop < len(run) and ends[stop] <= limit and run[stop].start - GAP - run[first].start < LEAST:
        stop = ends[stop]
    return stop


def _limit(run: Sequence[Spoken], row: Row, first: int) -> int:
    """As far as two lines and the longest time reach."""
    limit, start = row.limit(first), run[first].start
    for place in range(first + 1, limit):
        if run[place].end - start > MOST:
            return place
    return limit


def _part(run: Sequence[Spoken], row: Row, first: int, sentence: int, limit: int) -> int:
    """A sentence that is too long for one cue: where the first of its parts stops."""
    whole, start = row.width(first, sentence), run[first].start
    parts = max(2, -(-whole // (_SPACIOUS - row.lead)), -(-(run[sentence - 1].end - start) // MOST))
    target = whole / parts

    def ugliness(stop: int) -> float:
        uneven = abs(row.width(first, stop) - target) / target
        silence = 0.25 if run[stop].start - run[stop - 1].end >= 250 else 0.0
        short = 0.5 if run[stop].start - GAP - start < LEAST else 0.0
        return uneven + short - silence - breaking_well(row.texts[stop - 1])

    return min(range(first + 1, limit + 1), key=ugliness)


# ── several voices at once ───────────────────────────────────────────────────────────────────────────────────────────


def _paired(pieces: Iterator[_Piece]) -> Iterator[tuple[_Piece, ...]]:
    """Two short pieces of different voices that come at the same time, or so fast that the first could not be read,
    share a cue, a line each. Everything else goes one by one.
    """
    waiting: _Piece | None = None
    for piece in pieces:
        if waiting is None:
            waiting = piece
        elif _share(waiting, piece):
            yield (waiting, piece)
            waiting = None
        else:
            yield (waiting,)
            waiting = piece
    if waiting is not None:
        yield (waiting,)


def _share(one: _Piece, other: _Piece) -> bool:
    if one.voice == other.voice or max(one.end, other.end) - one.start > MOST:
        return False
    fit = all(1 + piece.row.lead + piece.width <= COLUMNS for piece in (one, other))
    return fit and (other.start < one.end or other.start - GAP - one.start < LEAST)


# ── from when to when ────────────────────────────────────────────────────────────────────────────────────────────────


def _timed(groups: Iterator[tuple[_Piece, ...]]) -> Iterator[Cue]:
    """A cue comes with its first word, or as soon after it as the one before leaves the screen to it."""
    before: tuple[_Piece, ...] | None = None
    start, last = 0, None
    for group in groups:
        begin = group[0].start
        if before is not None:
            begin = _begin(before, start, group)
            yield _cue(before, start, begin, last)
            last = before[-1].voice
        before, start = group, begin
    if before is not None:
        yield _cue(before, start, None, last)


def _begin(before: Sequence[_Piece], start: int, group: Sequence[_Piece]) -> int:
    """When ``group`` comes. Where its words begin before those of the cue on the screen are over, the two share that
    time by their widths, each for the least time if there is so much.
    """
    until, begin = max(piece.end for piece in before), group[0].start
    if begin < until:
        end = max(until, *(piece.end for piece in group))
        mine, other = (1 + sum(piece.width for piece in pieces) for pieces in (before, group))
        fair = start + (end - start) * mine // (mine + other)
        fair = max(min(fair, end - LEAST), start + LEAST + GAP)
        begin = min(max(begin, fair), until)
    return max(begin, start + FLOOR + GAP)


def _cue(group: Sequence[_Piece], start: int, following: int | None, last: Voice | None) -> Cue:
    spoken_until = max(start, *(piece.end for piece in group))
    columns = sum(piece.width for piece in group)
    read = min(start + -(-columns * 1000 // RATE), spoken_until + LINGER)
    end, most = max(spoken_until, start + LEAST, read), start + MOST
    if following is not None:
        most = min(most, following - GAP)
        if following - end < CHAIN:
            end = most
    dashed = len(group) > 1
    return Cue(start, min(end, most), tuple(_lines(group, last, dashed)), dashed)


def _lines(group: Sequence[_Piece], last: Voice | None, dashed: bool) -> Iterator[Line]:
    for piece in group:
        label = piece.label if piece.voice != last else None
        last = piece.voice
        lead = 0 if label is None else piece.row.lead
        places = ((piece.first, piece.stop),) if dashed else piece.row.lines(piece.first, piece.stop, lead)
        for first, stop in places:
            yield Line(piece.row.text(first, stop), piece.voice, label)
            label = None
