"""Music, noises and telephones made of sines and chance, and speech of espeak-ng: what the music detector and the tiny
separator are made and measured with. For measuring the speech is recorded, so that espeak-ng need not be there.

Sound is float64 of shape (samples,), about 0.1 RMS, at ``rate``; the same ``chance`` gives the same sound.
"""

from __future__ import annotations

import io
import subprocess
import wave
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from tests.pipeline.demucs_rig import decoded

Sound = NDArray[np.float64]
Chance = np.random.Generator
Make = Callable[[Chance, float, int], Sound]

LEVEL = 0.1  # RMS

# ── music ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))


def note(chance: Chance, hertz: float, seconds: float, rate: int, *, decay: float = 0.0, partials: int = 6) -> Sound:
    """A tone with overtones, in tune, with a soft attack; ``decay`` in 1/s, 0 for a sustained one."""
    t = np.arange(round(seconds * rate)) / rate
    sound = np.zeros(len(t))
    falling = chance.uniform(0.8, 2.0)
    for nth in range(1, partials + 1):
        if nth * hertz < 0.45 * rate:
            sound += nth**-falling * np.sin(2 * np.pi * (nth * hertz * t + chance.random()))
    edge = np.minimum(1, np.minimum(t, seconds - t) / 0.02)
    return sound * edge * np.exp(-decay * t)


def _pitch(chance: Chance, key: float, scale: tuple[int, ...], degree: int) -> float:
    octave, step = divmod(degree, len(scale))
    return key * 2 ** (octave + scale[step] / 12)


def _score(chance: Chance) -> tuple[float, float, tuple[int, ...]]:
    """Seconds of a beat, key in Hz, scale."""
    return 60 / chance.uniform(65, 140), 110 * 2 ** (chance.integers(0, 12) / 12), _SCALES[chance.integers(0, 2)]


def _place(sound: Sound, at: float, one: Sound, rate: int) -> None:
    start = round(at * rate)
    count = min(len(one), len(sound) - start)
    if count > 0:
        sound[start : start + count] += one[:count]


def chords(chance: Chance, seconds: float, rate: int) -> Sound:
    """A pad or an organ: three or four notes, changed every two or four beats."""
    beat, key, scale = _score(chance)
    sound, at = np.zeros(round(seconds * rate)), 0.0
    while at < seconds:
        length = beat * chance.choice([2, 4])
        root = int(chance.integers(0, 7))
        for degree in (root, root + 2, root + 4, root + 6)[: chance.integers(3, 5)]:
            _place(sound, at, note(chance, _pitch(chance, key, scale, degree), length, rate), rate)
        at += length
    return levelled(sound)


def arpeggio(chance: Chance, seconds: float, rate: int) -> Sound:
    """A plucked or struck instrument: a note every half or quarter of a beat."""
    beat, key, scale = _score(chance)
    step = beat / chance.choice([1, 2, 3, 4])
    sound = np.zeros(round(seconds * rate))
    root = 0
    for nth in range(int(seconds / step)):
        root = int(chance.integers(0, 7)) if nth % 8 == 0 else root
        hertz = _pitch(chance, 2 * key, scale, root + (0, 2, 4, 7, 4, 2, 9, 4)[nth % 8])
        _place(sound, nth * step, note(chance, hertz, 0.9, rate, decay=chance.uniform(2, 5)), rate)
    return levelled(sound)


def melody(chance: Chance, seconds: float, rate: int) -> Sound:
    """A tune over a bass, notes of a half to two beats."""
    beat, key, scale = _score(chance)
    sound = np.zeros(round(seconds * rate))
    for octave, lengths, loudness in ((3, [0.5, 1, 1, 2], 1.0), (0.5, [1, 2], 1.0)):
        at, degree = 0.0, 0
        while at < seconds:
            length = beat * chance.choice(lengths)
            degree = int(np.clip(degree + chance.integers(-2, 3), -4, 8))
            tone = note(chance, _pitch(chance, octave * key, scale, degree), length, rate, decay=0.7)
            _place(sound, at, loudness * tone, rate)
            at += length
    return levelled(sound)


def drums(chance: Chance, seconds: float, rate: int) -> Sound:
    """Bass drum, snare and hi-hat in four four time."""
    beat, _, _ = _score(chance)
    sound = np.zeros(round(seconds * rate))
    t = np.arange(round(0.25 * rate)) / rate
    kick = np.sin(2 * np.pi * 50 * (t + 0.05 * (1 - np.exp(-30 * t)))) * np.exp(-12 * t)
    for nth in range(int(2 * seconds / beat)):
        at = nth * beat / 2
        _place(sound, at, 0.3 * chance.standard_normal(len(t)) * np.exp(-60 * t), rate)
        if nth % 4 == 0:
            _place(sound, at, 1.5 * kick, rate)
        if nth % 4 == 2:
            _place(sound, at, 0.7 * chance.standard_normal(len(t)) * np.exp(-18 * t), rate)
    return levelled(sound)


def band(chance: Chance, seconds: float, rate: int) -> Sound:
    """All of it at once."""
    every = (chords, melody, drums)
    return levelled(sum((chance.uniform(0.5, 1) * make(chance, seconds, rate) for make in every), np.zeros(1)))


MUSIC: dict[str, Make] = {
    "chords": chords, "arpeggio": arpeggio, "melody": melody, "band": band, "drums": drums,
}  # fmt: skip

# ── what is no music ─────────────────────────────────────────────────────────────────────────────────────────────────


def white(chance: Chance, seconds: float, rate: int) -> Sound:
    return levelled(chance.standard_normal(round(seconds * rate)))


def pink(chance: Chance, seconds: float, rate: int) -> Sound:
    count = round(seconds * rate)
    spectrum = np.fft.rfft(chance.standard_normal(count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    return levelled(np.fft.irfft(spectrum, count))


def hum(chance: Chance, seconds: float, rate: int) -> Sound:
    """The mains: 50 or 60 Hz and its overtones, a little noise."""
    base = chance.choice([50, 60]) * chance.uniform(0.999, 1.001)
    t = np.arange(round(seconds * rate)) / rate
    tones = sum(
        (chance.uniform(0.1, 1) * np.sin(2 * np.pi * nth * base * t + nth) for nth in range(1, 13)), np.zeros(1)
    )
    return levelled(levelled(tones) + 0.05 * white(chance, seconds, rate))


def engine(chance: Chance, seconds: float, rate: int) -> Sound:
    """A motor or a fan: overtones of a pitch that drifts, and noise."""
    t = np.arange(round(seconds * rate)) / rate
    base = chance.uniform(40, 140) * (1 + 0.08 * np.sin(2 * np.pi * t / chance.uniform(4, 15)))
    phase = 2 * np.pi * np.cumsum(base) / rate
    tones = sum((nth**-0.7 * np.sin(nth * phase) for nth in range(1, 15)), np.zeros(1))
    return levelled(levelled(tones) + 0.7 * pink(chance, seconds, rate))


def ringing(chance: Chance, seconds: float, rate: int) -> Sound:
    """A telephone's ring back tone: two sines, a second or two on, three or four off."""
    t = np.arange(round(seconds * rate)) / rate
    low, high = ((440, 480), (400, 450), (425, 425))[chance.integers(0, 3)]
    on = chance.uniform(1, 2)
    there = t % (on + chance.uniform(3, 4)) < on
    return LEVEL * (np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t)) * there


def keys(chance: Chance, seconds: float, rate: int) -> Sound:
    """Telephone keys being pressed: pairs of tones of a tenth of a second, now and then."""
    sound = np.zeros(round(seconds * rate))
    at = 0.0
    while at < seconds:
        t = np.arange(round(chance.uniform(0.08, 0.2) * rate)) / rate
        low, high = chance.choice([697, 770, 852, 941]), chance.choice([1209, 1336, 1477])
        _place(sound, at, LEVEL * (np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t)), rate)
        at += chance.choice([0.25, 0.4, 3.0])
    return sound


def beeps(chance: Chance, seconds: float, rate: int) -> Sound:
    """A monitor, or a lorry that reverses: one tone, on and off for ever."""
    t = np.arange(round(seconds * rate)) / rate
    each = chance.uniform(0.8, 1.6)
    return 2 * LEVEL * np.sin(2 * np.pi * chance.uniform(800, 2500) * t) * (t % each < 0.3 * each)


def typing(chance: Chance, seconds: float, rate: int) -> Sound:
    """Clicks at no beat."""
    sound = np.zeros(round(seconds * rate))
    for at in np.cumsum(chance.exponential(0.18, int(seconds / 0.18))):
        t = np.arange(round(0.02 * rate)) / rate
        _place(sound, at, chance.uniform(0.2, 1) * chance.standard_normal(len(t)) * np.exp(-300 * t), rate)
    return levelled(sound)


def nothing(chance: Chance, seconds: float, rate: int) -> Sound:
    return np.zeros(round(seconds * rate))


NOISES: dict[str, Make] = {
    "nothing": nothing, "white": white, "pink": pink, "hum": hum, "engine": engine, "ringing": ringing, "keys": keys,
    "beeps": beeps, "typing": typing,
}  # fmt: skip

# ── speech ───────────────────────────────────────────────────────────────────────────────────────────────────────────

VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+m3", "en-us+f4", "en-gb-scotland+m5", "de", "fr", "es", "it+f3")
HELD_OUT_VOICES = ("en-us+m7", "en-gb+f5", "en-029", "pt")
HEARD = Path(__file__).parents[1] / "models" / "tiny-demucs-heard"  # recordings of these

_PARTS = (
    ("the engineers", "my sister", "a colleague of ours", "the whole committee", "nobody here", "every customer"),
    ("had already measured", "never quite understood", "will look at", "talked for hours about", "cannot remember"),
    ("the second harbour", "seven hundred letters", "what the weather did", "a very small budget", "the last report"),
    ("before lunch.", "on Thursday.", "without any help.", "in the old town.", "although it rained.", "twice a year."),
)  # fmt: skip


def sentence(chance: Chance) -> str:
    return " ".join(str(chance.choice(part)) for part in _PARTS)


@lru_cache(maxsize=512)
def spoken(text: str, voice: str, speed: int = 160, pitch: int = 50) -> tuple[Sound, int]:
    """espeak-ng's sound and its rate in Hz."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
        pcm = np.frombuffer(file.readframes(len(said)), "<i2")
    return pcm / 32768.0, rate


def speech(chance: Chance, seconds: float, rate: int, voices: tuple[str, ...] = VOICES) -> Sound:
    """One voice, sentence after sentence, with pauses."""
    sound, at = np.zeros(round(seconds * rate)), 0.0
    voice, speed, pitch = str(chance.choice(voices)), int(chance.integers(130, 190)), int(chance.integers(35, 65))
    while at < seconds:
        said, own = spoken(sentence(chance), voice, speed, pitch)
        said = resampled(said, own, rate)
        _place(sound, at, said, rate)
        at += len(said) / rate + chance.uniform(0.1, 1.0)
    return levelled(sound)


@lru_cache(maxsize=1)
def _recordings() -> tuple[Sound, ...]:
    return tuple(_opened(path) for path in sorted(HEARD.glob("*.ogg")))


def _opened(path: Path) -> Sound:
    """At 16 kHz."""
    with TemporaryDirectory() as folder:
        audio = decoded(path, Path(folder) / "a")
        return audio.read(0, 0, audio.samples).astype(np.float64)


def heard(chance: Chance, seconds: float, rate: int) -> Sound:
    """A piece of the recorded speech of one held-out voice, over and over if it must be."""
    recording = _recordings()[chance.integers(0, len(_recordings()))]
    count = round(seconds * 16_000)
    start = chance.integers(0, len(recording))
    piece = np.take(recording, np.arange(start, start + count), mode="wrap")
    return levelled(resampled(piece, 16_000, rate))


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def levelled(sound: Sound) -> Sound:
    """At `LEVEL`."""
    rms = float(np.sqrt(np.mean(sound**2)))
    return sound * (LEVEL / rms) if rms else sound


def resampled(sound: Sound, rate: int, wanted: int) -> Sound:
    """By Fourier transform: exact for what lies below both halves of the rates."""
    if rate == wanted or not len(sound):
        return sound
    count = round(len(sound) * wanted / rate)
    spectrum = np.fft.rfft(sound)
    kept = np.zeros(count // 2 + 1, complex)
    most = min(len(kept), len(spectrum))
    kept[:most] = spectrum[:most]
    return np.fft.irfft(kept, count) * (count / len(sound))


def decibels(ratio: float) -> float:
    """A ratio in dB as a factor."""
    return float(10 ** (ratio / 20))
