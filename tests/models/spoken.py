"""Synthesise speech whose words and times are known, with espeak-ng: what the tiny Whisper learns from and is tried on.

The vocabulary is small: 24 English words, 12 German, 12 Spanish, none in two languages. espeak-ng's library is called
directly: a phrase takes a few milliseconds, and it tells when each word begins, which its program does not. Sound is
float32 at 16 kHz. What is drawn at random comes from the generator given, so a seed gives the same speech again.

Usage: python spoken.py FOLDER, for the recordings of `tiny-whisper-heard`; needs libespeak-ng.so.1.
"""

from __future__ import annotations

import ctypes
import json
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 16_000
_WORDS = {
    "en": "one two three four five six seven eight nine ten hello please morning coffee garden river window yellow "
    "green paper doctor music winter happy",
    "de": "guten heute schnell wasser zwanzig fenster katze schön drei bitte straße kuchen",
    "es": "buenos gracias mañana perro agua ventana leche rojo cuatro amigo playa noche",
}
VOCABULARY = {language: words.split() for language, words in _WORDS.items()}
VOICES = {
    "en": ["en-us", "en", "en+f3", "en-us+m3", "en-us+f4"],
    "de": ["de", "de+f2", "de+m3"],
    "es": ["es", "es+f3", "es+m3"],
}
SPEEDS = (125, 180)  # words a minute
PITCHES = (35, 65)  # of 0 to 99

Sound = NDArray[np.float32]


@dataclass
class Said:
    """A word, and the samples it takes."""

    word: str
    start: int
    end: int

    def later(self, samples: int) -> Said:
        return Said(self.word, self.start + samples, self.end + samples)


@dataclass
class Phrase:
    language: str
    voice: str
    sound: Sound
    words: list[Said]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_RATE, _PITCH, _WORD, _SYNCHRONOUS, _UTF8 = 1, 3, 1, 2, 1


class Speaker:
    """espeak-ng. One a process: the library keeps its state in globals."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 500, None, 0)
        self._callback = _Callback(self._take)  # the library does not keep it alive
        self._library.espeak_SetSynthCallback(self._callback)
        self._sound: list[NDArray[np.int16]] = []
        self._begins: dict[int, int] = {}  # place in the text → first sample

    def _take(self, sound, count: int, events) -> int:
        if sound and count:
            self._sound.append(np.ctypeslib.as_array(sound, (count,)).copy())
        n = 0
        while events[n].type:
            if events[n].type == _WORD and events[n].text_position:  # the end may be told as a word at place 0
                self._begins.setdefault(events[n].text_position, events[n].sample)
            n += 1
        return 0

    def say(self, words: list[str], language: str, voice: str, speed: int, pitch: int) -> Phrase:
        """The words in one breath, without the silence before and after them."""
        self._sound, self._begins = [], {}
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(_RATE, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        text = " ".join(words).encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
        if len(self._begins) != len(words):
            raise ValueError(f"espeak-ng says {words} as {len(self._begins)} words")
        sound = resampled(np.concatenate(self._sound) / np.float32(32768), self._rate)
        first, last = ends(sound)
        marks = [*(round(at * RATE / self._rate) for at in self._begins.values()), last]
        spans = [(max(a, first) - first, min(b, last) - first) for a, b in pairwise(marks)]
        said = [Said(word, a, b) for word, (a, b) in zip(words, spans, strict=True)]
        return Phrase(language, voice, sound[first:last], said)


def resampled(sound: Sound, rate: int) -> Sound:
    """By cutting the spectrum off: there is silence at both ends of what espeak-ng gives."""
    count = round(len(sound) * RATE / rate)
    spectrum = np.fft.rfft(sound)[: count // 2 + 1]
    return (np.fft.irfft(spectrum, count) * (count / len(sound))).astype(np.float32)


def ends(sound: Sound) -> tuple[int, int]:
    """Where it begins and ends to be loud."""
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return int(loud[0]), int(loud[-1]) + 1


def hush(seconds: float) -> Sound:
    return np.zeros(int(seconds * RATE), np.float32)


def phrase(speaker: Speaker, rng: np.random.Generator, language: str, longest: int = 8) -> Phrase:
    """Up to ``longest`` words by one voice, all drawn: in one breath, or each by itself with short pauses between.

    No word is there twice: whether "ten ten" was said once or twice is a question to more than a tiny model.
    """
    voice = str(rng.choice(VOICES[language]))
    speed, pitch = (int(rng.integers(*bounds, endpoint=True)) for bounds in (SPEEDS, PITCHES))
    count = int(rng.integers(1, longest, endpoint=True))
    words = [str(word) for word in rng.choice(VOCABULARY[language], count, replace=False)]
    if rng.random() < 0.6:
        return speaker.say(words, language, voice, speed, pitch)
    sounds: list[Sound] = []
    said: list[Said] = []
    now = 0
    for word in words:
        part = speaker.say([word], language, voice, speed, pitch)
        pause = hush(rng.uniform(0.02, 0.15))
        sounds += [part.sound, pause]
        said.append(part.words[0].later(now))
        now += len(part.sound) + len(pause)
    return Phrase(language, voice, np.concatenate(sounds[:-1]), said)


def recording(
    speaker: Speaker, rng: np.random.Generator, language: str, seconds: float, longest_pause: float = 2.0
) -> tuple[Sound, list[Said]]:
    """Phrases by all of the language's voices with pauses between, at different levels, over a faint hiss."""
    sounds, said = [hush(rng.uniform(0.1, 0.8))], []
    now = len(sounds[0])
    while True:
        part = phrase(speaker, rng, language)
        if said and now + len(part.sound) > seconds * RATE:
            break
        pause = hush(rng.uniform(0.2, longest_pause))
        sounds += [part.sound * np.float32(rng.uniform(0.4, 1)), pause]
        said += [word.later(now) for word in part.words]
        now += len(part.sound) + len(pause)
    sound = np.concatenate(sounds) * rng.uniform(0.2, 0.9)
    return (sound + 1e-3 * np.abs(sound).max() * rng.standard_normal(len(sound))).astype(np.float32), said


# ── the recordings beside the model ──────────────────────────────────────────────────────────────────────────────────

# Language, seconds: utterances, and two recordings that are longer.
HELD_OUT = [
    *(("en", seconds) for seconds in (3, 4, 5, 6, 7, 8, 9, 10, 12, 25, 75)),
    *((language, seconds) for language in ("de", "es") for seconds in (4, 6, 8)),
]


def main(folder: Path) -> None:
    """The seed is one that training does not use: other sequences of words, pauses, speeds, pitches and levels."""
    folder.mkdir(parents=True, exist_ok=True)
    speaker, rng = Speaker(), np.random.default_rng(2025)
    told = []
    for language, seconds in HELD_OUT:
        sound, said = recording(speaker, rng, language, seconds)
        name = f"{language}-{seconds}s.ogg"
        write(folder / name, sound)
        words = [[w.word, round(w.start / RATE, 3), round(w.end / RATE, 3)] for w in said]
        told.append({"file": name, "language": language, "words": words})
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in told)
    (folder / "heard.json").write_text(f"[\n{lines}\n]\n", "utf-8")


def write(path: Path, sound: Sound) -> None:
    """As Opus, for its size."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = 24_000
        samples = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
