"""Makes the one recording that all tiny models hear: two people in turns, over music that goes on between them.

The words are the tiny Whisper's and the tiny aligner's, the voices two that the tiny diarizers know and that Whisper
too, the music of the kind that the tiny separator learnt on. What is said when, and by whom, is espeak-ng's own word.
Nothing was trained on this recording, but `tiny-whisper-separated` was on others of its making (`tiny_mixtures.py`); of
four seeds it understood two to 95 % and more, and this is one of them.

Usage: python -m tests.models.make_conversation [FOLDER [SEED]]: writes ``conversation.opus`` and ``conversation.json``.
Needs libespeak-ng.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np

from tests.models.spoken import RATE, VOCABULARY, Phrase, Sound, Speaker
from tests.models.spoken_dialogues import VOICES
from tests.pipeline.synthetic_sound import MUSIC, decibels

FOLDER = Path(__file__).parent / "conversation"
SEED = 3
PEOPLE = 2  # the first of `VOICES`
LOUDNESS = (0.1, 0.08)  # RMS of each one's speech
TALKS, TALK_SECONDS = 2, 12.0  # how often they talk, and for how long at the most
BREAK_SECONDS = 8.0  # between talks: two of them do not fit into one of Whisper's windows
PAUSES = (0.4, 0.9)  # s, between turns
RATIO = 10.0  # dB, of the speech over the music
SONG = "chords"
BIT_RATE = 48_000

Turn = tuple[int, Phrase, int]
"""The sample that it begins at, what is said, and by whom."""


def talk(rng: np.random.Generator, speaker: Speaker) -> tuple[Sound, list[Turn]]:
    """Turns of three to five words, each in one breath: the sound, shape (samples,) at 16 kHz, up to the last word.

    No word comes twice: after "coffee" the tiny Whisper would not know after which.
    """
    sounds: list[Sound] = []
    turns: list[Turn] = []
    left = [str(word) for word in rng.permutation(VOCABULARY["en"])]
    while True:
        who = len(turns) % PEOPLE
        name, pitch, speed = VOICES[who]
        words = [left.pop() for _ in range(min(len(left), int(rng.integers(3, 6))))]
        if not words:
            return np.concatenate(sounds[:-1]), turns
        phrase = speaker.say(words, "en", name, speed, pitch)
        start = sum(map(len, sounds))
        if start + len(phrase.sound) > TALK_SECONDS * RATE:
            return np.concatenate(sounds[:-1]), turns
        turns.append((start, phrase, who))
        level = LOUDNESS[who] / np.sqrt(np.mean(phrase.sound**2))
        sounds += [phrase.sound * np.float32(level), np.zeros(round(rng.uniform(*PAUSES) * RATE), np.float32)]


def music(rng: np.random.Generator, samples: int, ratio: float = RATIO) -> Sound:
    """So many samples of it, at that ratio in dB to speech of 0.1 RMS."""
    return (decibels(-ratio) * MUSIC[SONG](rng, samples / RATE + 1, RATE)[:samples]).astype(np.float32)


def conversation(seed: int) -> tuple[Sound, list[Turn]]:
    """Some talks, over music."""
    rng, speaker = np.random.default_rng([11, seed]), Speaker()
    sounds, turns = [np.zeros(RATE, np.float32)], []
    for nth in range(TALKS):
        now = sum(map(len, sounds))
        sound, said = talk(rng, speaker)
        turns += [(now + start, phrase, who) for start, phrase, who in said]
        pause = BREAK_SECONDS if nth < TALKS - 1 else 1.0
        sounds += [sound, np.zeros(round(pause * RATE), np.float32)]
    voices = np.concatenate(sounds)
    return voices + music(rng, len(voices)), turns


def main(folder: Path, seed: int) -> None:
    sound, turns = conversation(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "conversation.opus"), "w") as file:
        stream = file.add_stream("libopus", rate=RATE, layout="mono", bit_rate=BIT_RATE)
        pcm = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        file.mux([*stream.encode(frame), *stream.encode(None)])
    words = [
        [word.word, round((start + word.start) / RATE, 3), round((start + word.end) / RATE, 3), who]
        for start, phrase, who in turns
        for word in phrase.words
    ]
    (folder / "conversation.json").write_text(json.dumps(words) + "\n", "utf-8")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else FOLDER, int(given[1]) if len(given) > 1 else SEED)
