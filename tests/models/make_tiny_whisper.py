"""Train a tiny Whisper on synthetic speech and write it for faster-whisper: a test fixture, of no use on real speech.

It hears, in its small vocabulary (`spoken.py`), what is said and when, as a real Whisper would: log-mel in, tokens out,
with timestamps or without, after a prompt or none, language and absence of speech at their tokens, alignment heads.
Windows are up to 30 s of phrases and pauses, at different levels, some over noise; some are noise alone.

How it comes to read rather than to guess, in an hour or two of two cores:

- The encoder first, alone, on short pieces at random places of the window: each frame is to tell the word, and the two
  words before it. The decoder's question is "what came after these two words?", and that answers it.
- Then the decoder, while the encoder stands still: its cross-attention is guided. Where words are spoken is known, so
  in lower layers attention is asked to be on the word that was just written, in upper ones on the word to write, spread
  evenly in the last layer: word times are read from there.
- Then both together, on ever longer windows. The encoder goes on with its own lessons, and is to keep its place.
- Positions are sinusoids, and `tiny_net.py` begins with attention to places relative to one's own. Timestamps'
  embeddings begin as the sinusoids of their frames.
- As faster-whisper does, features are padded with zeros after log-mel, not sound before it.

Usage: python make_tiny_whisper.py FOLDER [--resume], beside torch, faster-whisper and libespeak-ng.so.1. What it needs
for --resume is kept in FOLDER.pt.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import heard
import numpy as np
import torch
from tiny_lessons import (
    CONTROL,
    FIRST_TIMESTAMP,
    IDENT,
    LANGUAGES,
    SPOKEN,
    TOKENIZER,
    UNKNOWN,
    WORDS,
    Batch,
    Draws,
    Windows,
)
from tiny_net import ALIGNED, FRAMES, HERE, NEXT, WIDTH, Decoder, Encoder, export
from torch import Tensor, nn
from torch.nn import functional as F

# ── learning ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Pupil(nn.Module):
    """The two halves, and what the encoder answers its own questions with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder(len(IDENT), FIRST_TIMESTAMP)
        sizes = (3 * len(WORDS) + 1, len(WORDS) + 1, len(WORDS) + 1)
        self.answers = nn.ModuleList(nn.Linear(WIDTH, size) for size in sizes)
        self.place = nn.Linear(WIDTH, WIDTH)

    def frame_loss(self, batch: Batch, heard_: Tensor, first: int) -> Tensor:
        targets = (batch.now, batch.before[:, 0], batch.before[:, 1])
        losses = [
            F.cross_entropy(answer(heard_).flatten(0, 1), target.flatten(), ignore_index=UNKNOWN)
            for answer, target in zip(self.answers, targets, strict=True)
        ]
        places = self.encoder.positions[first : first + heard_.shape[1]].expand_as(heard_)
        return losses[0] + 0.4 * (losses[1] + losses[2]) + F.mse_loss(self.place(heard_), places)

    def text_loss(self, batch: Batch, heard_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the tokens, of the attention, and what share of the words is right."""
        written, logs, own = self.decoder(batch.given, heard_)
        asked = batch.wanted != UNKNOWN
        logits, wanted = self.decoder.spell(written[asked]), batch.wanted[asked]
        text = F.cross_entropy(logits, wanted)
        stamps = batch.here * (batch.given >= FIRST_TIMESTAMP)[..., None]
        guides = [inside(logs[0][:, 0], stamps)]
        guides += [inside(logs[layer][:, head], batch.here) for layer, head in HERE]
        guides += [inside(logs[layer][:, head], batch.there) for layer, head in NEXT]
        guides += [evenly(logs[layer][:, head], batch.aligned) for layer, head in ALIGNED]
        stamped = -own.gather(-1, batch.last_stamp[..., None])[..., 0][asked].mean()
        words = torch.isin(wanted, torch.tensor(list(SPOKEN.values())))
        right = (logits.argmax(-1) == wanted)[words].float().mean()
        return text, sum(guides[:4]) / 4 + sum(guides[4:]) / 4 + 0.3 * stamped, right


def inside(log: Tensor, aim: Tensor) -> Tensor:
    """How little of the attention is in the span."""
    on = aim.any(-1)
    return -((log[on].exp() * (aim[on] > 0)).sum(-1) + 1e-5).log().sum() / max(int(on.sum()), 1)


def evenly(log: Tensor, aim: Tensor) -> Tensor:
    """How far attention is from being spread evenly over the span."""
    on = aim.any(-1)
    return (aim[on] * (aim[on].clamp(min=1e-9).log() - log[on])).sum() / max(int(on.sum()), 1)


@dataclass
class Stage:
    steps: int
    encoder_rate: float
    decoder_rate: float
    begin: dict[int, float]  # how often windows of so many frames are drawn at first
    end: dict[int, float]  # and in the end


STAGES = [
    Stage(1200, 2e-3, 0, {250: 1, 350: 1, 450: 1}, {250: 1, 350: 1, 450: 1}),
    Stage(1500, 0, 1.3e-3, {200: 6, 400: 3, 800: 1, FRAMES: 0}, {200: 1, 400: 2, 800: 3, FRAMES: 4}),
    Stage(1500, 8e-4, 8e-4, {200: 2, 400: 3, 800: 3, FRAMES: 2}, {200: 1, 400: 2, 800: 3, FRAMES: 4}),
    Stage(900, 0, 8e-4, {200: 1, 400: 2, 800: 3, FRAMES: 4}, {200: 1, 400: 1, 800: 3, FRAMES: 5}),
    Stage(1000, 4e-4, 4e-4, {200: 1, 400: 2, 800: 3, FRAMES: 4}, {200: 1, 400: 1, 800: 3, FRAMES: 5}),
]
FRAMES_A_STEP = 4500


def train(pupil: Pupil, windows: Draws, stage: Stage, checkpoint: Path, number: int) -> None:
    rng, began = windows.rng, time.monotonic()
    ears = [*pupil.encoder.parameters(), *pupil.answers.parameters(), *pupil.place.parameters()]
    groups = [(stage.encoder_rate, ears), (stage.decoder_rate, [*pupil.decoder.parameters()])]
    groups = [(rate, weights) for rate, weights in groups if rate]
    optimiser = torch.optim.AdamW([{"params": weights} for _, weights in groups], weight_decay=0.01)
    rates = [rate for rate, _ in groups]
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=stage.steps, pct_start=0.08)
    kept: list[tuple[Batch, Tensor]] = []  # while the encoder stands still, what it heard is good for some steps more
    for step in range(stage.steps):
        if len(kept) > 10 and rng.random() < 0.6:
            batch, sound = kept[rng.integers(len(kept))]
        else:
            late = min(1, 1.5 * step / stage.steps)
            shares = np.array([stage.begin[n] * (1 - late) + stage.end[n] * late for n in stage.begin])
            frames = int(rng.choice(list(stage.begin), p=shares / shares.sum()))
            alone = not stage.decoder_rate
            dense = alone and rng.random() < 0.6
            count = max(3, FRAMES_A_STEP // frames)
            batch = Batch.draw(windows, count, frames, dense=dense, tokens=not alone)
            first = int(rng.integers(0, FRAMES - frames + 1)) if alone else 0
            with torch.set_grad_enabled(bool(stage.encoder_rate)):
                sound = pupil.encoder(batch.mels, first)
            if not stage.encoder_rate:
                kept = [*kept[-40:], (batch, sound)]
            windows.renew()
        ear_loss = pupil.frame_loss(batch, sound, first) if stage.encoder_rate else torch.zeros(())
        text, guide, right = pupil.text_loss(batch, sound) if stage.decoder_rate else (torch.zeros(()),) * 3
        optimiser.zero_grad()
        ((0.3 if stage.decoder_rate else 1) * ear_loss + text + 0.3 * guide).backward()
        nn.utils.clip_grad_norm_([w for _, weights in groups for w in weights], 1.0)
        optimiser.step()
        plan.step()
        if step % 50 == 0 or step == stage.steps - 1:
            told = f"frames {ear_loss:.3f} text {text:.3f} attention {guide:.3f} words right {right:.3f}"
            print(f"{number}: {step} {told} {time.monotonic() - began:.0f} s", flush=True)
            torch.save({"stage": number, "pupil": pupil.state_dict()}, checkpoint)


def find_place(pupil: Pupil, windows: Windows) -> None:
    """Begin the decoder with what can be made of the encoder's places."""
    with torch.no_grad():
        sound = pupil.encoder(Batch.draw(windows, 6, FRAMES, tokens=False).mels).flatten(0, 1)
        places = pupil.encoder.positions.repeat(6, 1)
        ridge = sound.T @ sound + 1e-2 * len(sound) * torch.eye(WIDTH)
        pupil.decoder.locate(torch.linalg.solve(ridge, sound.T @ places).T)


def main(folder: Path, resume: bool) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    windows, pupil, done = Windows(np.random.default_rng(0)), Pupil(), 0
    checkpoint = folder.with_suffix(".pt")
    if resume:
        state = torch.load(checkpoint)
        pupil.load_state_dict(state["pupil"])
        done = state["stage"]
    for number, stage in enumerate(STAGES):
        if number < done:
            continue
        if number == 1 and not resume:
            find_place(pupil, windows)
        train(pupil, windows, stage, checkpoint, number)
    save(pupil, folder)
    print(heard.report(folder))


def save(pupil: Pupil, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    never = ("<|startoftranscript|>", *(token for token in CONTROL if token != "<|notimestamps|>"))
    config = {
        "lang_ids": [IDENT[f"<|{code}|>"] for code in LANGUAGES if code != "yue"],
        "suppress_ids": [IDENT[token] for token in never],
        "suppress_ids_begin": [IDENT["Ġ"]],
        "alignment_heads": [list(head) for head in ALIGNED],
    }
    export(pupil.encoder, pupil.decoder, list(IDENT), config, folder)
    TOKENIZER.save(str(folder / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--resume" in sys.argv)
