"""Makes a model of voices of NeMo's own class, a TitaNet in miniature: a test fixture, of no other use.

It tells the voices of `spoken_dialogues` apart, and some more of espeak-ng's that it was trained with.

Usage: python -m tests.models.make_tiny_speakers FILE.nemo [--steps N]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.models.nemo import module
from tests.models import spoken_dialogues
from tests.models.spoken_dialogues import RATE, TRAINING, VOICES, Bank
from tests.models.tiny_nemo import MODULES, mel_features

torch = module("torch")

CHANNELS, SIZE = 64, 48
MORE = tuple(
    (f"en-us+{name}", pitch, 170)
    for name, pitch in [
        ("m1", 40), ("f1", 55), ("Alex", 45), ("belinda", 65), ("boris", 25), ("Denis", 40), ("edward", 50),
        ("Gene", 35), ("Jacky", 70), ("linda", 75), ("Marco", 55), ("norbert", 30), ("Andy", 35), ("Storm", 20),
        ("travis", 45), ("zac", 65),
    ]
)  # fmt: skip


def config(classes: int) -> Any:
    """The configuration of titanet_small, smaller in every dimension."""

    def block(kernel: int, filters: int, repeat: int, *, residual: bool) -> dict[str, Any]:
        return {
            "filters": filters, "repeat": repeat, "kernel": [kernel], "stride": [1], "dilation": [1], "dropout": 0.0,
            "residual": residual, "separable": True, "se": True, "se_context_size": -1,
        }  # fmt: skip

    return module("omegaconf").OmegaConf.create(
        {
            "sample_rate": RATE,
            "preprocessor": mel_features(RATE, normalize="per_feature"),
            "encoder": {
                "_target_": f"{MODULES}.ConvASREncoder",
                "feat_in": 40,
                "activation": "relu",
                "conv_mask": True,
                "jasper": [
                    block(3, CHANNELS, 1, residual=False),
                    block(7, CHANNELS, 2, residual=True),
                    block(11, CHANNELS, 2, residual=True),
                    block(1, 2 * CHANNELS, 1, residual=False),
                ],
            },
            "decoder": {
                "_target_": f"{MODULES}.SpeakerDecoder",
                "feat_in": 2 * CHANNELS,
                "num_classes": classes,
                "pool_mode": "attention",
                "attention_channels": 32,
                "emb_sizes": SIZE,
                "angular": True,
            },
            "loss": {
                "_target_": "nemo.collections.asr.losses.angularloss.AngularSoftmaxLoss",
                "scale": 20,
                "margin": 0.1,
            },
        }
    )


def untrained(classes: int = len(VOICES), seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return module("nemo.collections.asr.models").EncDecSpeakerLabelModel(cfg=config(classes)).eval()


def batch_of(bank: Bank, rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Crops of 1.5 s, and whose they are."""
    length = RATE * 3 // 2
    voices = rng.integers(len(bank.of), size=count)
    sounds = []
    for voice in voices.tolist():
        said = bank.of[voice][rng.integers(len(bank.of[voice]))]
        shift = rng.integers(max(1, len(said) - length // 2))
        sound = np.zeros(length, np.float32)
        piece = said[shift : shift + length]
        # In the middle of a window, as speech lies that voice activity detection found; a short word is repeated.
        sound[:] = np.resize(np.pad(piece, rng.integers(0, 3200, 2)), length)
        noise = rng.standard_normal(length).astype(np.float32) * 10 ** rng.uniform(-4, -2.5)
        sounds.append(rng.uniform(0.3, 1.3) * sound + noise)
    return torch.from_numpy(np.stack(sounds).astype(np.float32)), torch.from_numpy(voices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spoken_dialogues.VOICES = (*VOICES, *MORE)
    every = tuple(range(len(spoken_dialogues.VOICES)))
    bank = Bank(TRAINING, 40, every)
    model = untrained(len(every))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, args.steps)
    right: list[float] = []
    for step in range(args.steps):
        sound, whose = batch_of(bank, np.random.default_rng([2, step]), 48)
        model.train()
        logits, _ = model.forward(input_signal=sound, input_signal_length=torch.full((len(sound),), sound.shape[1]))
        loss = model.loss(logits=logits, labels=whose)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        right.append(float((logits.argmax(1) == whose).float().mean()))
        if (step + 1) % 50 == 0:
            print(f"{step + 1}: loss {float(loss):.3f}, right {np.mean(right[-50:]):.3f}", flush=True)
    model.eval().save_to(str(args.file))


if __name__ == "__main__":
    main()
