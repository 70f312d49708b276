"""Recordings whose words and times are known, in `tiny-whisper-heard`, and how much of one was understood."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

FOLDER = Path(__file__).parent / "tiny-whisper-heard"


@dataclass(frozen=True)
class Word:
    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Recording:
    path: Path
    language: str
    words: tuple[Word, ...]


def recordings(folder: Path = FOLDER) -> list[Recording]:
    told = json.loads((folder / "heard.json").read_text("utf-8"))
    return [Recording(folder / r["file"], r["language"], tuple(Word(*w) for w in r["words"])) for r in told]


def mistakes(said: Sequence[str], found: Sequence[str]) -> int:
    """Words that were added, left out or taken for others, at the least: what the word error rate counts."""
    row = list(range(len(found) + 1))
    for n, word in enumerate(said, 1):
        above, row[0] = row[0], n
        for m, other in enumerate(found, 1):
            above, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, above + (word != other))
    return row[-1]


def pairs(said: Sequence[Word], found: Sequence[Word]) -> list[tuple[Word, Word]]:
    """The words that were understood, each with what was found for it."""
    blocks = SequenceMatcher(None, [w.text for w in said], [w.text for w in found], autojunk=False)
    return [(said[b.a + n], found[b.b + n]) for b in blocks.get_matching_blocks() for n in range(b.size)]


def report(model: Path) -> str:
    """What a Whisper understands of the recordings, with faster-whisper in both of its ways."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

    sequential = WhisperModel(str(model), device="cpu", compute_type="int8")
    ways = {"sequential": sequential.transcribe, "batched": BatchedInferencePipeline(sequential).transcribe}
    lines = []
    for name, transcribe in ways.items():
        wrong = count = near = met = 0
        for recording in recordings():
            segments, _ = transcribe(decode_audio(str(recording.path)), word_timestamps=True)
            found = [Word(w.word.strip(), w.start, w.end) for segment in segments for w in segment.words]
            wrong += mistakes([w.text for w in recording.words], [w.text for w in found])
            count += len(recording.words)
            both = pairs(recording.words, found)
            met += len(both)
            near += sum(abs(said.start - heard.start) < 0.15 for said, heard in both)
        lines.append(f"{name}: {1 - wrong / count:.1%} of {count} words, {near / max(met, 1):.1%} begin within 150 ms")
    return "\n".join(lines)
