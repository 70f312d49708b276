"""Makes a streaming Sortformer of NeMo's own class in miniature: a test fixture, of no other use.

It knows the voices of `spoken_dialogues` and no others; its targets are in the order of arrival, as those of its big
sister. First it hears dialogues at once, short ones at the beginning, and is told the voices' names beside, which shows
it what to listen for; then chunk by chunk, too, with the cache of speakers that it has made itself. Under half of the
dialogues there is faint music, as a separator leaves it. It prints how wrong it is on dialogues of other sentences.

Usage: python -m tests.models.make_tiny_sortformer FILE.nemo [--folder CHECKPOINTS] [--steps N]
Takes up where it stopped. --steps also stretches its lessons, which are parts of the whole.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.models.nemo import module
from tests.models.spoken_dialogues import HELD_OUT, RATE, TRAINING, VOICES, Bank, dialogue, labels
from tests.models.tiny_nemo import MODULES, mel_features
from tests.pipeline.synthetic_sound import MUSIC, decibels

torch = module("torch")

WIDTH, INNER = 96, 64
# Part of the steps until which a lesson lasts, seconds of its dialogues, and how many of them are heard chunk by chunk.
LESSONS = (
    (0.1, (6.0,), 0.0),
    (0.3, (6.0, 12.0), 0.0),
    (0.6, (6.0, 12.0, 24.0, 40.0), 0.0),
    (1.0, (12.0, 30.0, 60.0), 0.4),
)
SETTLED = 0.85  # from here on normalisation is as it will be in use


def config() -> Any:
    """The configuration of diar_streaming_sortformer_4spk-v2, smaller in every dimension."""
    return module("omegaconf").OmegaConf.create(
        {
            "sample_rate": RATE,
            "max_num_of_spks": 4,
            "pil_weight": 0.5,
            "ats_weight": 0.5,
            "streaming_mode": True,
            "model_defaults": {"fc_d_model": WIDTH, "tf_d_model": INNER},
            "preprocessor": mel_features(RATE, normalize="NA"),
            "encoder": {
                "_target_": f"{MODULES}.ConformerEncoder",
                "feat_in": 40,
                "feat_out": -1,
                "n_layers": 4,
                "d_model": WIDTH,
                "subsampling": "dw_striding",
                "subsampling_factor": 8,
                "subsampling_conv_channels": 32,
                "causal_downsampling": False,
                "ff_expansion_factor": 2,
                "self_attention_model": "rel_pos",
                "n_heads": 4,
                "att_context_size": [-1, -1],
                "att_context_style": "regular",
                "xscaling": True,
                "untie_biases": True,
                "pos_emb_max_len": 5000,
                "conv_kernel_size": 9,
                "conv_norm_type": "batch_norm",
                "dropout": 0.0,
                "dropout_pre_encoder": 0.0,
                "dropout_emb": 0.0,
                "dropout_att": 0.0,
            },
            "transformer_encoder": {
                "_target_": f"{MODULES}.transformer.transformer_encoders.TransformerEncoder",
                "num_layers": 3,
                "hidden_size": INNER,
                "inner_size": 2 * INNER,
                "num_attention_heads": 4,
                "attn_score_dropout": 0.0,
                "attn_layer_dropout": 0.0,
                "ffn_dropout": 0.0,
                "hidden_act": "relu",
                "pre_ln": False,
                "pre_ln_final_layer_norm": True,
            },
            "sortformer_modules": {
                "_target_": f"{MODULES}.sortformer_modules.SortformerModules",
                "num_spks": 4,
                "dropout_rate": 0.0,
                "fc_d_model": WIDTH,
                "tf_d_model": INNER,
                "subsampling_factor": 8,
                "spkcache_len": 188,
                "fifo_len": 0,
                "chunk_len": 188,
                "spkcache_update_period": 188,
                "chunk_left_context": 1,
                "chunk_right_context": 1,
            },
            "loss": {"_target_": "nemo.collections.asr.losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
        }
    )


def untrained(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return module("nemo.collections.asr.models").SortformerEncLabelModel(cfg=config()).eval()


def songs(seconds: float = 60.0) -> list[Any]:
    """A minute of each kind of music, at 0.1 RMS."""
    return [make(np.random.default_rng([4, n]), seconds, RATE) for n, make in enumerate(MUSIC.values())]


def faint(rng: np.random.Generator, music: Sequence[Any], samples: int) -> Any:
    """Some of the music, as loud as what a separator leaves of it, or none: float32, shape (samples,)."""
    if not music or rng.random() < 0.5:
        return np.float32(0)
    song = music[rng.integers(len(music))]
    return (np.resize(np.roll(song, -rng.integers(len(song))), samples) * decibels(rng.uniform(-35, -12))).astype("f4")


def batch_of(
    bank: Bank, rng: np.random.Generator, count: int, seconds: float, music: Sequence[Any] = ()
) -> tuple[Any, Any, Any]:
    """Sound, shape (count, samples), targets, shape (count, frames, 4), and whose voices those are, the same with a
    column for each of `VOICES`.
    """
    sounds, targets, names = [], [], []
    for _ in range(count):
        voices = rng.choice(len(VOICES), rng.choice([1, 2, 2, 3, 3, 4, 4, 4]), replace=False)
        sound, turns = dialogue(bank, rng, voices, seconds)
        sounds.append(sound + faint(rng, music, len(sound)))
        frames = -(-len(sound) // (RATE // 100) // 8)
        targets.append(labels(turns, frames))
        names.append(np.zeros((frames, len(VOICES)), np.float32))
        for turn in turns:
            names[-1][round(turn.start / 0.08) : round(turn.end / 0.08), turn.voice] = 1.0
    sound, found, named = (torch.from_numpy(np.stack(one)) for one in (sounds, targets, names))
    return sound, found, named


def predicted(model: Any, sound: Any, *, streaming: bool) -> tuple[Any, Any]:
    """The posteriors, and what the encoder made of the sound, None if streaming."""
    lengths = torch.full((len(sound),), sound.shape[1])
    features, lengths = model.process_signal(sound, lengths)
    features = features[:, :, : lengths.max()]
    if streaming:
        return model.forward_streaming(features, lengths), None
    encoded, lengths = model.frontend_encoder(features, lengths)
    return model.forward_infer(encoded, lengths), encoded


def loss_of(found: Any, targets: Any) -> Any:
    frames = min(found.shape[1], targets.shape[1])
    return torch.nn.functional.binary_cross_entropy(found[:, :frames].clamp(1e-6, 1 - 1e-6), targets[:, :frames])


def lesson(part: float, rng: np.random.Generator) -> tuple[float, bool]:
    """Seconds of one step's dialogues, and whether they are heard chunk by chunk; ``part`` of all steps is done."""
    _, lengths, streaming = next(one for one in LESSONS if part < one[0])
    chunks = bool(rng.random() < streaming)
    return max(lengths) if chunks else float(rng.choice(lengths)), chunks


def learning_rate(step: int, steps: int) -> float:
    """Rises for 300 steps, then falls as a cosine does."""
    return float(1e-3 * min(1, (step + 1) / 300) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps))))


def wrong(model: Any, bank: Bank, people: int, count: int = 4) -> float:
    """Frames missed, made up or another's, of those spoken, in minutes of so many people, as they stream."""
    model.eval()
    missed = said = 0.0
    with torch.no_grad():
        for n in range(count):
            rng = np.random.default_rng([7, people, n])
            sound, turns = dialogue(bank, rng, rng.choice(len(VOICES), people, replace=False), 60.0)
            found = predicted(model, torch.from_numpy(sound)[None], streaming=True)[0][0].numpy() >= 0.5
            truth = labels(turns, len(found)) >= 0.5
            missed += float(np.maximum(truth.sum(1), found.sum(1)).sum() - (truth & found).sum())
            said += float(truth.sum())
    return missed / said


class Course:
    """The model and what teaches it, at a step of so many."""

    def __init__(self, steps: int) -> None:
        self.bank, self.music = Bank(TRAINING, 150), songs()
        self.model, self.names = untrained(), torch.nn.Linear(INNER, len(VOICES))
        weights = [*self.model.parameters(), *self.names.parameters()]
        self.optimiser = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-3)
        self.step, self.steps = 0, steps
        self._kept = {"model": self.model, "names": self.names, "optimiser": self.optimiser}

    def resume(self, latest: Path) -> None:
        if latest.exists():
            found = torch.load(latest, weights_only=True)
            for name, one in self._kept.items():
                one.load_state_dict(found[name])
            self.step = found["step"]

    def keep(self, latest: Path) -> None:
        torch.save({name: one.state_dict() for name, one in self._kept.items()} | {"step": self.step}, f"{latest}.new")
        Path(f"{latest}.new").replace(latest)

    def go_on(self) -> float:
        """One step; gives its loss."""
        rng = np.random.default_rng([2, self.step])
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.steps)
        seconds, chunks = lesson(self.step / self.steps, rng)
        sound, targets, voices = batch_of(self.bank, rng, max(2, round(120 / seconds)), seconds, self.music)
        self.model.train()
        if self.step >= SETTLED * self.steps:
            settle(self.model)
        found, encoded = predicted(self.model, sound, streaming=chunks)
        loss = who = loss_of(found, targets)
        if encoded is not None:
            loss = who + loss_of(self.names(encoded).sigmoid(), voices)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return float(who.detach())


def settle(model: Any) -> None:
    """Has it normalise by what it has seen so far, not by the batch."""
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            part.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"))
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    latest = args.folder / "latest.pt"
    course, unheard = Course(args.steps), Bank(HELD_OUT, 12)
    course.resume(latest)
    began, losses = time.monotonic(), []
    while course.step < args.steps:
        losses.append(course.go_on())
        last = course.step == args.steps
        if course.step % 100 == 0 or last:
            print(f"{course.step}: loss {np.mean(losses[-100:]):.4f}, {time.monotonic() - began:.0f} s", flush=True)
            course.keep(latest)
        if course.step % 500 == 0 or last:
            errors = ", ".join(f"{people} {wrong(course.model, unheard, people):.1%}" for people in (2, 3, 4))
            print(f"{course.step}: wrong with people: {errors}", flush=True)
            course.model.eval().save_to(str(args.file))
    course.model.eval().save_to(str(args.file))


if __name__ == "__main__":
    main()
