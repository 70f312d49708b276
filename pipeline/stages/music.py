"""Whether there is music in a recording, so that it is worth the time to take the voices out of it.

Takes `Audio`, gives stretches of music. Music has what speech, noise and machines have not: overtones that begin
together out of nothing, keep their pitch to a few hertz for a quarter of a second, and change. The count of such
partials is compared with a threshold, piece by piece. Drums alone, singing alone and glides have none of it and do not
count: in doubt there is no music. numpy only; a few seconds for an hour. Knows nothing of models, nor of what is done
with what it finds.

After K. Seyerlehner, T. Pohle, M. Schedl, G. Widmer, "Automatic Music Detection in Television Productions", DAFx 2007,
whose bars in the spectrogram speech of even pitch has, too; hence the strict peaks and the rules about hum and drift.
Measured in bench/RESULTS.md, on synthetic music alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.stages.audio import Audio, seconds
from pipeline.types import Span

THRESHOLD = 2.5  # partials at a time, in the mean over a piece: speech has up to 0.6, music mostly more than 3
LEAST_SHARE, LEAST_SECONDS = 0.25, 5.0  # of a recording and in it: a jingle is not worth an hour's separation

_WINDOW, _HOP = 2048, 512  # samples: 128 ms and 32 ms; a bin is 7.8 Hz wide
_LOW, _HIGH = 26, 512  # bins: 200 Hz, below which machines hum, to 4 kHz
_AROUND = 21  # bins that a peak is compared with
_PROMINENCE = 6.0  # dB over their mean
_HELD = 8  # frames (256 ms) that a partial keeps its bin; a vowel's seldom lasts so long
_NEAR, _LATELY = 3, 8  # bins and frames: a partial that begins so near to one that ended has drifted there
_HUM = 0.5  # of a stretch: what sounds for longer is the mains or a machine
_QUIET, _QUIET_HUM = 0.3, 0.6  # or for so much of its quietest part: what hums is there whenever nothing is over it
_PIECE = 80  # frames (2.56 s) judged at a time
_PIECES = 6  # pieces in a stretch (15 s), within which hum is known as such
_FLOOR = 1e-3  # magnitude, of a window of half a quantisation step or so

Report = Callable[[float, float | None], None]
Held: TypeAlias = NDArray[np.bool_]
"""Shape (frames, bins)."""
Levels: TypeAlias = NDArray[np.floating]
"""Likewise."""


class Music(NamedTuple):
    """``spans``: where it is, in order and apart. ``seconds`` of it, and of the recording (of all tracks)."""

    spans: tuple[Span, ...]
    seconds: float
    whole: float

    @property
    def worth_separating(self) -> bool:
        return self.seconds >= LEAST_SECONDS and self.seconds >= LEAST_SHARE * self.whole


def music(audio: Audio, report: Report) -> Music:
    """Where there is music in any of the tracks. ``report(seconds done, seconds in all)``, of all tracks."""
    each = seconds(audio.samples)
    spans: list[Span] = []
    for track in range(audio.tracks):
        for start, stop, count in counts(audio, track):
            if count >= THRESHOLD:
                spans.append(Span(start=seconds(start), end=seconds(stop)))
            report(track * each + seconds(stop), audio.tracks * each)
    joined = _joined(sorted(spans, key=lambda span: span.start))
    return Music(joined, sum(span.end - span.start for span in joined), each)


def counts(audio: Audio, track: int) -> Iterator[tuple[int, int, float]]:
    """(first sample, last sample, musical partials at a time) of each piece, in order and without gaps."""
    piece = _PIECE * _HOP
    for start in range(0, audio.samples, _PIECES * piece):
        # The last stretch reaches back: what hums is not to be seen in a second.
        begin = max(0, min(start, audio.samples - _PIECES * piece))
        sound = audio.read(track, begin, begin + _PIECES * piece + _WINDOW - _HOP)
        found, level = peaks(sound)
        partials = musical(held(found), level)
        for first in range(start, min(audio.samples, start + _PIECES * piece), piece):
            stop = min(audio.samples, first + piece)
            some = partials[(first - begin) // _HOP : max(1, (stop - begin) // _HOP)]
            yield first, stop, float(some.mean()) if len(some) else 0.0


def peaks(sound: NDArray[np.float32]) -> tuple[Held, Levels]:
    """Bins that stand out from their surroundings in each window, and the surroundings' level in dB."""
    if len(sound) < _WINDOW:
        sound = np.pad(sound, (0, _WINDOW - len(sound)))
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    reach = _AROUND // 2
    spectrum = np.abs(np.fft.rfft(frames * _SHAPE, axis=1)[:, _LOW - reach : _HIGH + reach])
    level = 20 * np.log10(np.maximum(spectrum, _FLOOR))
    sums = np.cumsum(np.pad(level, ((0, 0), (1, 0))), axis=1)
    mean = (sums[:, _AROUND:] - sums[:, :-_AROUND]) / _AROUND
    own, lower, higher = (level[:, reach + shift : level.shape[1] - reach + shift or None] for shift in (0, -1, 1))
    found: Held = (own - mean > _PROMINENCE) & (own >= lower) & (own >= higher)
    return found, mean


_SHAPE = np.hanning(_WINDOW).astype(np.float32)


def held(found: Held) -> Held:
    """Of the peaks those that stay in their bin for `_HELD` frames or more."""
    sums = np.cumsum(np.pad(found, ((_HELD, 0), (0, 0))), axis=0, dtype=np.int32)
    last = sums[_HELD:] - sums[:-_HELD] == _HELD  # a run of that length ends here
    kept = np.zeros_like(found)
    for shift in range(min(_HELD, len(found))):
        kept[: len(found) - shift] |= last[shift:]
    return kept


def musical(kept: Held, level: Levels) -> NDArray[np.int64]:
    """How many partials there are in each frame that neither hum on nor have drifted to where they are. ``level``: of
    what is around each bin.
    """
    changing = kept & ~_humming(kept, level)
    near = _near(kept, _NEAR)
    never = -1 - _LATELY
    held_near, counted = np.full(
        (2, kept.shape[1]), never
    )  # the last frames in which there was a partial, or one that counts
    before = going = np.zeros(kept.shape[1], bool)
    sums = np.zeros(len(kept), np.int64)
    for nth, now in enumerate(changing):
        fresh = nth - held_near > _LATELY
        goes_on = nth - counted <= _LATELY  # speech was over it for a moment
        going = now & (going | (~before & (fresh | goes_on)))
        held_near[near[nth]] = nth
        counted[going] = nth
        before = now
        sums[nth] = np.count_nonzero(going[1:] & ~going[:-1])
    return sums


def _humming(kept: Held, level: Levels) -> NDArray[np.bool_]:
    """The bins in which something sounds for most of the stretch, or of the time in which it could be heard."""
    wide = _near(kept, 1)
    quiet = level <= np.quantile(level, _QUIET, axis=0)
    found: NDArray[np.bool_] = (wide.mean(axis=0) > _HUM) | (
        (wide & quiet).sum(axis=0) > _QUIET_HUM * quiet.sum(axis=0)
    )
    return found


def _near(kept: Held, bins: int) -> Held:
    """Whether the bin or one so near holds a partial."""
    near = kept.copy()
    for shift in range(1, bins + 1):
        near[:, shift:] |= kept[:, :-shift]
        near[:, :-shift] |= kept[:, shift:]
    return near


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    """Those that touch or overlap as one."""
    found: list[Span] = []
    for span in spans:
        if found and span.start <= found[-1].end:
            found[-1] = Span(start=found[-1].start, end=max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)
