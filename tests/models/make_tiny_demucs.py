"""Trains the tiny HTDemucs of the tests: demucs' own class, small, on espeak-ng's speech over synthetic music.

    python -m tests.models.make_tiny_demucs --heard
    python -m tests.models.make_tiny_demucs --minutes 30 --checkpoint tiny.pt -o tests/models/tiny-demucs

The first records the held-out voices, once. The second goes on from the checkpoint if there is one, and writes the
folder that `pipeline.models.demucs` loads, with a ``README.md`` that says what came out. On one core and to no end but
tests: it knows a dozen voices of one synthesiser and music made of sines. What it is measured on, voices, sentences and
music, it was not trained on.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file
from torch import Tensor

from pipeline.models.demucs import VOICES, WEIGHTS, write_arguments
from tests.pipeline import synthetic_sound as made
from tests.pipeline.media import write_audio

RATE = 16_000  # Hz; the real ones work at 44,100
SEGMENT = 2  # s
ARGUMENTS: dict[str, Any] = {
    "sources": ["music", VOICES], "samplerate": RATE, "segment": SEGMENT, "audio_channels": 2, "channels": 16,
    "nfft": 1024, "depth": 3, "t_layers": 1, "t_heads": 4, "bottom_channels": 32, "t_hidden_scale": 2.0,
    "dconv_depth": 1,
}  # fmt: skip
BATCH = 4
POOL = 480  # s of each kind of sound that training cuts its pieces from
STEPS = 3_000  # to which the rate of learning falls
LEARNING = 2e-3
HELD_OUT = 1_000_000  # seeds from here on are for measuring

Sound = made.Sound


def song(chance: np.random.Generator, seconds: float, rate: int = RATE) -> Sound:
    return made.MUSIC[str(chance.choice(list(made.MUSIC)))](chance, seconds, rate)


def mixture(seed: int, seconds: float = 12.0, rate: int = RATE) -> tuple[Sound, Sound]:
    """(music, voices) as held out from training: others' voices, other songs. Both mono, at one level."""
    chance = np.random.default_rng(HELD_OUT + seed)
    return song(chance, seconds, rate), made.heard(chance, seconds, rate)


def sdr(true: Sound, found: Sound) -> float:
    """Signal-to-distortion ratio in dB, as in the Music Demixing Challenge of 2021."""
    return float(10 * np.log10((true**2).sum() / (((true - found) ** 2).sum() + 1e-12)))


def gain(net: HTDemucs, seed: int) -> float:
    """By how many dB the SDR of the voices of a held-out mixture rises."""
    from demucs.apply import apply_model

    music, voices = mixture(seed)
    mix = music + voices
    both = torch.from_numpy(np.stack([mix, mix])).float()
    mean, std = both.mean(), both[0].std() + 1e-8
    with torch.no_grad():
        found = apply_model(net.eval(), ((both - mean) / std)[None], shifts=0)[0, 1].mean(0) * std + mean
    return sdr(voices, found.numpy().astype(np.float64)) - sdr(voices, mix)


def record(seconds: float = 30.0) -> None:
    """Half a minute of each held-out voice, as Opus."""
    made.HEARD.mkdir(exist_ok=True)
    for nth, voice in enumerate(made.HELD_OUT_VOICES):
        said = made.speech(np.random.default_rng(HELD_OUT + nth), seconds, RATE, (voice,))
        path = made.HEARD / f"{voice}.ogg"
        write_audio(path, said[None], RATE, "libopus", form="flt", bit_rate=24_000)


class Pool:
    """Pieces of speech and of music, at random and mixed at random."""

    def __init__(self, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        self._chance = np.random.default_rng(int(time.time()))
        self._speech = np.concatenate([made.speech(chance, 20.0, RATE) for _ in range(POOL // 20)])
        self._music = np.concatenate([song(chance, 12.0) for _ in range(POOL // 12)])

    def batch(self) -> tuple[Tensor, Tensor]:
        """(mix, sources): shapes (batch, 2, samples) and (batch, source, 2, samples), normalised as demucs does."""
        pairs = [np.stack([self._piece(self._music), self._piece(self._speech)]) for _ in range(BATCH)]
        sources = torch.from_numpy(np.stack(pairs)).float()
        mix = sources.sum(1)
        std = mix.mean(1).std(-1)[:, None, None] + 1e-5
        return mix / std, sources / std[:, None]

    def _piece(self, pool: Sound) -> Sound:
        count = SEGMENT * RATE
        start = self._chance.integers(0, len(pool) - count)
        sides = 1 + 0.3 * self._chance.uniform(-1, 1) * np.array([1, -1])  # somewhere between left and right
        level = made.decibels(self._chance.uniform(-5, 5))
        piece: Sound = level * self._chance.choice([-1, 1]) * sides[:, None] * pool[start : start + count]
        return piece


def train(net: HTDemucs, minutes: float, checkpoint: Path | None) -> int:
    """Returns the steps done in all."""
    optimiser = torch.optim.Adam(net.parameters(), LEARNING)
    step = 0
    if checkpoint is not None and checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        step = kept["step"]
    pool, ends, lost = Pool(), time.monotonic() + 60 * minutes, 0.0
    while time.monotonic() < ends:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, step / STEPS))))
        mix, sources = pool.batch()
        loss = (net.train()(mix) - sources).abs().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        lost += 0.02 * (loss.item() - lost) if lost else loss.item()
        if step % 100 == 0:
            gains = [gain(net, seed) for seed in range(3)] if step % 500 == 0 else []
            print(step, f"{lost:.4f}", " ".join(f"{one:.1f} dB" for one in gains), flush=True)
            if checkpoint is not None:
                partial = checkpoint.with_suffix(".partial")
                torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, partial)
                partial.replace(checkpoint)
    return step


README = """# tiny-demucs: a test fixture

An HTDemucs of {parameters:,} parameters at 16 kHz, trained for {steps:,} steps by `tests/models/make_tiny_demucs.py` on
speech of espeak-ng over music made of sines and noise. It is of no use on real recordings.

On {count} held-out mixtures at 0 dB (other voices, sentences and music) the SDR of the voices rises by {mean:.1f} dB in
the mean, by {least:.1f} dB at the least. The recordings of these voices are in `tests/models/tiny-demucs-heard`,
synthesised with espeak-ng, too.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the tiny HTDemucs of the tests.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("tiny-demucs"))
    parser.add_argument("--heard", action="store_true", help="record the held-out voices, and no more")
    given = parser.parse_args()
    if given.heard:
        record()
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(1)
    net = HTDemucs(**ARGUMENTS)
    steps = train(net, given.minutes, given.checkpoint)
    given.output.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in net.state_dict().items()}, given.output / WEIGHTS)
    write_arguments(given.output, ARGUMENTS)
    gains = [gain(net, seed) for seed in range(20)]
    told = README.format(
        parameters=sum(one.numel() for one in net.parameters()), steps=steps, count=len(gains),
        mean=float(np.mean(gains)), least=min(gains),
    )  # fmt: skip
    (given.output / "README.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
