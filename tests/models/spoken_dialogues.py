"""Dialogues of synthetic voices whose turns are known: what the tiny diarizers are trained on, and tried on.

Takes a seeded generator; gives sound at 16 kHz and the turns in it. Speaks with espeak-ng, so it runs only where that
is installed; the tests have dialogues that were made with it beside the models, of sentences that no model was trained
on.

Usage: python -m tests.models.spoken_dialogues FOLDER: writes those dialogues.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.models.spoken import VOCABULARY

RATE = 16_000
TRAINING, HELD_OUT = 1, 100  # seeds of banks
# Seconds, voices and overlap of the dialogues that the tests hear.
DIALOGUES = ((40.0, (0, 3), 0.0), (60.0, (1, 4, 6), 0.15), (60.0, (0, 2, 5, 7), 0.15), (75.0, (0, 1, 2, 3, 4, 7), 0.0))
# Voices of espeak-ng, with pitches and speeds (words a minute) that set them further apart. The first two the tiny
# Whisper knows, too, at these pitches and speeds. (To en-gb, espeak-ng adds no variant: every en-gb+… is one voice.)
VOICES = (
    ("en-us+m3", 38, 170), ("en-us+f4", 60, 165), ("en-gb", 45, 175), ("en-us+f5", 80, 185),
    ("en-gb-scotland+m7", 60, 160), ("en-us+Annie", 50, 170), ("en-us+steph", 30, 190), ("en-us+grandpa", 20, 150),
)  # fmt: skip
_WORDS = """
about after again always answer because before between build call carry change city close common country course decide
early enough every family follow garden great happen hold house idea important inside keep large later learn letter
light little many matter measure money morning mountain never night notice number often order other paper people
picture place point question reach ready reason remember river room school second several simple small something sound
spring start street strong summer table talk thing think thousand together travel turn under until usual voice wait
walk water week while winter without wonder work world write year yellow young
"""
WORDS = (*_WORDS.split(), *VOCABULARY["en"])


class Turn(NamedTuple):
    """Seconds, and the place of the voice among `VOICES`."""

    start: float
    end: float
    voice: int


class Bank:
    """Utterances of each voice, spoken once; ``seed`` decides which, so that banks of other seeds are held out."""

    def __init__(self, seed: int, utterances: int, voices: Sequence[int] = tuple(range(len(VOICES)))) -> None:
        rng = np.random.default_rng(seed)
        wanted = [(voice, _sentence(rng)) for voice in voices for _ in range(utterances)]
        with ThreadPoolExecutor(2) as pool:
            spoken = list(pool.map(lambda one: speak(one[1], one[0]), wanted))
        self.of = {voice: [s for (v, _), s in zip(wanted, spoken, strict=True) if v == voice] for voice in voices}


def speak(text: str, voice: int) -> NDArray[np.float32]:
    """The text in one voice, without silence around it, as loud as all others."""
    name, pitch, speed = VOICES[voice]
    command = ["espeak-ng", "-v", name, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    with wave.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(1 << 30), np.int16).astype(np.float32) / 32768
    count = round(len(sound) * RATE / rate)
    # By its spectrum: what is over 8 kHz is cut off.
    spectrum = np.fft.rfft(sound)[: count // 2 + 1]
    sound = np.fft.irfft(spectrum, count).astype(np.float32) * np.float32(count / len(sound))
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    sound = sound[loud[0] : loud[-1] + 1]
    return 0.1 * sound / np.sqrt(np.mean(sound**2))


def dialogue(
    bank: Bank, rng: np.random.Generator, voices: Sequence[int], seconds: float, *, overlap: float = 0.15
) -> tuple[NDArray[np.float32], list[Turn]]:
    """People who take turns, all of ``voices`` at least once if there is time. ``overlap``: share of turns that begin
    before the one before is over.
    """
    sound = 1e-3 * rng.standard_normal(round(seconds * RATE)).astype(np.float32) * rng.uniform(0.05, 1.0)
    levels = {voice: rng.uniform(0.4, 1.2) for voice in voices}
    at, turns, last = rng.uniform(0.1, 1.5), [], -1
    waiting = list(rng.permutation(voices))
    while True:
        others = [voice for voice in voices if voice != last] or list(voices)
        voice = int(waiting.pop(0) if waiting and rng.random() < 0.5 else rng.choice(others))
        waiting = [one for one in waiting if one != voice]
        said = bank.of[voice][rng.integers(len(bank.of[voice]))]
        if voice != last and turns and rng.random() < overlap:
            at = max(at - rng.uniform(0.3, 1.5), turns[-1].start + 0.4, *(t.end for t in turns if t.voice == voice), 0)
        first = round(at * RATE)
        if first + len(said) > len(sound):
            return np.clip(sound, -1, 1), turns
        sound[first : first + len(said)] += levels[voice] * said
        turns.append(Turn(at, at + len(said) / RATE, voice))
        at, last = max(turn.end for turn in turns) + rng.uniform(0.1, 1.0), voice


def labels(turns: Sequence[Turn], frames: int, step: float = 0.08, columns: int = 4) -> NDArray[np.float32]:
    """Shape (frames, columns): who speaks in most of a frame, in the order in which they are first heard."""
    found = np.zeros((frames, columns), np.float32)
    order: dict[int, int] = {}
    for turn in sorted(turns):
        column = order.setdefault(turn.voice, len(order))
        found[round(turn.start / step) : round(turn.end / step), column] = 1.0
    return found


def _sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(2, 12)))


def main(folder: Path) -> None:
    import av

    bank = Bank(HELD_OUT, 12)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (seconds, voices, overlap) in enumerate(DIALOGUES):
        sound, turns = dialogue(bank, np.random.default_rng([9, number]), voices, seconds, overlap=overlap)
        with av.open(str(folder / f"dialogue-{number}.opus"), "w") as container:
            stream = container.add_stream("libopus", rate=RATE, layout="mono", bit_rate=32_000)
            for start in range(0, len(sound), 320):
                pcm = (sound[start : start + 320] * 32767).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        rounded = [(round(turn.start, 3), round(turn.end, 3), turn.voice) for turn in turns]
        (folder / f"dialogue-{number}.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
