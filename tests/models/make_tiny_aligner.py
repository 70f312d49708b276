"""Make the tiny CTC aligner: a NeMo `EncDecCTCModel` of 300,000 parameters that knows the words of `spoken.py`.

    python tests/models/make_tiny_aligner.py train                  # checkpoints, to go on from when it is cut off
    python tests/models/make_tiny_aligner.py export                 # tests/models/tiny-aligner, and its recordings
    python tests/models/make_tiny_aligner.py measure                # how far its words' times are off

A test fixture, not an aligner for real speech: it has heard nothing but espeak-ng. Needs the models extra and
libespeak-ng. What it learns from is made as it goes; the recordings it is measured on come of another seed.

The loss is CTC's, and for the first and last 60 ms of each word, whose place espeak-ng tells, the cross-entropy of its
first and last letter: left alone, CTC puts a letter anywhere inside the word, and a word's end is then as good as
unknown. Outside of words anything but the blank and the space is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from spoken import RATE, Phrase, Said, Sound, Speaker, phrase

if TYPE_CHECKING:
    from pipeline.types import Transcript

LABELS = tuple(" abcdefghijklmnopqrstuvwxyzäöüßñ'")
LANGUAGES = {"en": 0.5, "de": 0.25, "es": 0.25}  # and their shares
STEP = 0.02  # seconds a frame
EDGE = (0.015, 0.075)  # of a word, from its start and before its end: where its first and last letter are asked for
POOL = 2_400  # phrases that are mixed into ever new recordings
BATCH_SECONDS = 96.0
FOLDER = Path(__file__).parent / "tiny-aligner"
NAME = "tiny-aligner.nemo"
HEARD = Path(__file__).parent / "tiny-aligner-heard"
# What is kept of what it is tried on: languages and seconds. The longest takes two of the stage's windows.
KEPT = (("en", 5), ("en", 8), ("en", 10), ("en", 36), ("de", 7), ("de", 9), ("es", 7), ("es", 9))
HELD_OUT, MEASURED = 770_077, 550_055  # seeds of the recordings that it is tried on, and its delay is measured with


@dataclass(frozen=True)
class Recording:
    """Phrases with pauses between them, and where each word is, in samples."""

    language: str
    sound: Sound
    words: list[Said]


# ── what it hears ───────────────────────────────────────────────────────────────────────────────────────────────────


def pool(rng: np.random.Generator, size: int) -> dict[str, list[Phrase]]:
    speaker = Speaker()
    return {
        language: [phrase(speaker, rng, language) for _ in range(round(size * share))]
        for language, share in LANGUAGES.items()
    }


def recording(rng: np.random.Generator, phrases: Sequence[Phrase], language: str, seconds: float) -> Recording:
    """Up to ``seconds`` of phrases drawn at random, each as loud as it likes, in a little noise."""
    parts: list[Sound] = [_pause(rng, 0.05, 0.8)]
    words: list[Said] = []
    reached = len(parts[0])
    while True:
        drawn = phrases[int(rng.integers(len(phrases)))]
        if reached + len(drawn.sound) > seconds * RATE and words:
            break
        words += [word.later(reached) for word in drawn.words]
        parts += [drawn.sound * np.float32(rng.uniform(0.4, 1.0)), _pause(rng, 0.15, 1.2)]
        reached += len(drawn.sound) + len(parts[-1])
        if reached > seconds * RATE:
            break
    sound = np.concatenate(parts) * np.float32(rng.uniform(0.2, 0.9))
    noise = rng.standard_normal(len(sound)).astype(np.float32) * np.float32(10 ** rng.uniform(-4.5, -2.3))
    return Recording(language, np.clip(sound + noise * np.abs(sound).max(), -1, 1).astype(np.float32), words)


def _pause(rng: np.random.Generator, least: float, most: float) -> Sound:
    return np.zeros(int(rng.uniform(least, most) * RATE), np.float32)


def batches(rng: np.random.Generator) -> Iterator[list[Recording]]:
    phrases = pool(rng, POOL)
    names, shares = list(LANGUAGES), list(LANGUAGES.values())
    while True:
        length = float(rng.choice([1.5, 3.0, 6.0, 9.0], p=[0.1, 0.3, 0.4, 0.2]))
        made = []
        for _ in range(max(2, int(BATCH_SECONDS / (length + 1)))):
            language = str(rng.choice(names, p=shares))
            made.append(recording(rng, phrases[language], language, length * rng.uniform(0.6, 1.0)))
        yield made


# ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────


def configuration() -> dict[str, Any]:
    """A small QuartzNet: separable convolutions, 20 ms a frame, 0.8 s to either side are heard for each."""

    def block(filters: int, kernel: int, **rest: Any) -> dict[str, Any]:
        ordinary = {"repeat": 1, "stride": [1], "dilation": [1], "dropout": 0.0, "residual": False, "separable": True}
        return {"filters": filters, "kernel": [kernel], **ordinary, **rest}

    return {
        "sample_rate": RATE,
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": RATE, "normalize": "per_feature", "window_size": 0.025, "window_stride": 0.01,
            "window": "hann", "features": 64, "n_fft": 512, "frame_splicing": 1, "dither": 1e-5, "pad_to": 0,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConvASREncoder",
            "feat_in": 64, "activation": "relu", "conv_mask": True,
            "jasper": [
                block(128, 11, stride=[2]),
                *(block(128, 9, repeat=2, residual=True) for _ in range(5)),
                block(160, 1, separable=False),
            ],
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
            "feat_in": 160, "num_classes": len(LABELS), "vocabulary": list(LABELS),
        },
    }  # fmt: skip


def untrained() -> Any:
    from nemo.collections.asr.models import EncDecCTCModel
    from omegaconf import OmegaConf

    return EncDecCTCModel(OmegaConf.create(configuration()))


def loss_of(model: Any, made: Sequence[Recording]) -> tuple[torch.Tensor, torch.Tensor]:
    """CTC's, for a letter; and that of the words' edges, for a frame."""
    lengths = torch.tensor([len(one.sound) for one in made])
    signal = torch.zeros(len(made), int(lengths.max()))
    for row, one in enumerate(made):
        signal[row, : len(one.sound)] = torch.from_numpy(one.sound)
    heard, frames, _ = model(input_signal=signal, input_signal_length=lengths)
    blank = len(LABELS)
    texts = [[LABELS.index(letter) for letter in " ".join(word.word for word in one.words)] for one in made]
    targets = torch.tensor([token for text in texts for token in text])
    sizes = torch.tensor([len(text) for text in texts])
    ctc = torch.nn.functional.ctc_loss(heard.transpose(0, 1), targets, frames, sizes, blank=blank, zero_infinity=True)
    edges = torch.stack([_edges(one, heard.shape[1]) for one in made])
    held = heard.gather(2, edges.clamp(min=0)[..., None])[..., 0]
    quiet = torch.logaddexp(heard[..., blank], heard[..., 0])
    asked = torch.where(edges == _QUIET, quiet, held)[edges != _ANY]
    return ctc, -asked.mean()


_ANY, _QUIET = -1, -2  # where anything is right, and where there is no word


def _edges(one: Recording, frames: int) -> torch.Tensor:
    """What is asked for in each frame: a letter, `_QUIET` or `_ANY`."""
    middles = np.arange(frames) * STEP
    asked = np.full(frames, _QUIET)
    for word in one.words:
        start, end = word.start / RATE, word.end / RATE
        asked[(middles > start - 0.03) & (middles < end + 0.03)] = _ANY
    for word in one.words:
        start, end = word.start / RATE, word.end / RATE
        asked[(middles >= start + EDGE[0]) & (middles < start + EDGE[1])] = LABELS.index(word.word[0])
        asked[(middles > end - EDGE[1]) & (middles <= end - EDGE[0])] = LABELS.index(word.word[-1])
    asked[middles > len(one.sound) / RATE] = _ANY
    return torch.from_numpy(asked)


def train(work: Path, steps: int, stop: int, rate: float) -> None:
    """From the last checkpoint in ``work``, if there is one, to ``stop`` of ``steps``."""
    torch.manual_seed(1)
    model = untrained()
    kept = work / "checkpoint.pt"
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-3)
    done = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        done = state["steps"]
    model.train()
    began, told = time.monotonic(), (0.0, 0.0)
    for made in batches(np.random.default_rng(1 + done)):
        if done >= stop:
            break
        share = done / steps
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (done + 1) / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
        ctc, edges = loss_of(model, made)
        optimiser.zero_grad()
        (ctc + edges).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        done += 1
        told = tuple(
            0.95 * old + 0.05 * float(new) for old, new in zip(told, (ctc.detach(), edges.detach()), strict=True)
        )
        if done % 25 == 0:
            print(f"{done} CTC {told[0]:.3f} edges {told[1]:.3f} after {time.monotonic() - began:.0f} s", flush=True)
        if done % 100 == 0 or done == stop:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "steps": done}
            torch.save(state, work / "checkpoint.tmp")
            (work / "checkpoint.tmp").replace(kept)


# ── what became of it ───────────────────────────────────────────────────────────────────────────────────────────────


class Track:
    """A recording as the stage reads it."""

    tracks = 1

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self.samples = len(sound)

    def read(self, track: int, start: int, stop: int) -> Sound:
        return self._sound[max(0, start) : stop]


def guessed(one: Recording, rng: np.random.Generator) -> Transcript:
    """The words with times as a recogniser gives them: up to 0.25 s off, in order and apart."""
    from pipeline.types import ChannelTranscript, MediaInfo, ModelInfo, Transcript, Word

    edges = [edge / RATE for word in one.words for edge in (word.start, word.end)]
    moved = np.sort(np.clip(edges + rng.uniform(-0.25, 0.25, len(edges)), 0, len(one.sound) / RATE))
    words = tuple(
        Word(text=word.word, start=float(start), end=float(end), confidence=0.9)
        for word, start, end in zip(one.words, moved[::2], moved[1::2], strict=True)
    )
    return Transcript(
        media=MediaInfo(duration=len(one.sound) / RATE, channels=1, container="wav", codec="pcm"),
        channels=(ChannelTranscript(words=words, language=one.language),),
        punctuated=False,
        model=ModelInfo(name="guess", version="1", arch="none", revision="0"),
    )


def errors_of(seed: int, seconds: Sequence[tuple[str, float]]) -> np.ndarray:
    """Through the stage: how much later the words are found than they are said, starts and ends, shape (words, 2)."""
    from pipeline.aligners import aligner_in
    from pipeline.devices import DeviceSettings
    from pipeline.models.aligner import Aligners
    from pipeline.stages.align import aligned

    rng = np.random.default_rng(seed)
    phrases = pool(rng, 300)
    aligners = Aligners([aligner_in(FOLDER)], DeviceSettings(device="cpu"))
    found = []
    for language, length in seconds:
        one = recording(rng, phrases[language], language, length)
        done = aligned(guessed(one, rng), Track(one.sound), aligners.get, lambda done, total: None)
        words = done.transcript.channels[0].words
        found += [
            (word.start - said.start / RATE, word.end - said.end / RATE)
            for word, said in zip(words, one.words, strict=True)
        ]
    return np.array(found)


def measure(seed: int = HELD_OUT) -> None:
    drawn = [(language, length) for language in LANGUAGES for length in (2, 4, 6, 9, 14, 28, 45)]
    for name, error in zip(("starts", "ends"), errors_of(seed, drawn).T, strict=True):
        right = np.mean(np.abs(error) <= 0.1)
        far = np.quantile(np.abs(error), 0.95)
        print(
            f"{len(error)} {name}: {right:.1%} within 100 ms, median {np.median(error):+.3f} s, 95 % within {far:.3f}"
        )


def export(work: Path) -> None:
    """The model, its record with the delay as it is measured, and the recordings."""
    model = untrained()
    model.load_state_dict(torch.load(work / "checkpoint.pt", weights_only=True)["model"])
    FOLDER.mkdir(exist_ok=True)
    model.eval().save_to(str(FOLDER / NAME))
    _write_record(0.0)
    drawn = [(language, 6.0) for language in LANGUAGES for _ in range(20)]
    delay = float(np.median(errors_of(MEASURED, drawn), axis=0).mean())
    _write_record(round(delay, 3))
    print(f"heard {delay:+.3f} s late; {(FOLDER / NAME).stat().st_size:,} bytes")
    _keep_recordings()


def _write_record(delay: float) -> None:
    record = {
        "format": 1, "backend": "nemo", "file": NAME, "languages": sorted(LANGUAGES), "licence": "Apache-2.0",
        "delay": delay,
    }  # fmt: skip
    (FOLDER / "dropscribe-aligner.json").write_text(json.dumps(record, indent=1) + "\n")


def _keep_recordings() -> None:
    rng = np.random.default_rng(HELD_OUT + 1)
    phrases = pool(rng, 300)
    HEARD.mkdir(exist_ok=True)
    told = []
    for nth, (language, seconds) in enumerate(KEPT):
        one = recording(rng, phrases[language], language, seconds)
        name = f"{language}-{nth}.flac"
        with av.open(str(HEARD / name), "w") as file:
            stream = file.add_stream("flac", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray((one.sound * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate = RATE
            file.mux([*stream.encode(frame), *stream.encode(None)])
        words = [[word.word, round(word.start / RATE, 4), round(word.end / RATE, 4)] for word in one.words]
        told.append({"file": name, "language": language, "words": words})
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in told)
    (HEARD / "heard.json").write_text(f"[\n{lines}\n]\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "export", "measure"))
    parser.add_argument("--work", type=Path, default=Path("build/tiny-aligner"), help="where the checkpoints are")
    parser.add_argument("--steps", type=int, default=1300, help="over which the learning rate falls")
    parser.add_argument("--stop", type=int, default=800, help="after so many of them: it learns no more by then")
    parser.add_argument("--rate", type=float, default=2e-3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.command == "train":
        train(asked.work, asked.steps, asked.stop, asked.rate)
    elif asked.command == "export":
        export(asked.work)
    else:
        measure()


if __name__ == "__main__":
    main()
