"""One more lesson for the tiny Whisper: conversations over music whose voices the tiny HTDemucs took out.

What a separator leaves is nothing like noise: chords under the words, and holes in them. Without this lesson every
second word is lost in it. Gives windows of conversations made as `make_conversation` makes its own, of other seeds, and
as often what there was to hear before, so that it is not forgotten.

Usage: python tiny_mixtures.py CHECKPOINT.pt FOLDER, with a checkpoint of `make_tiny_whisper`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import make_tiny_whisper
import numpy as np
import torch
from tiny_lessons import RATE, Part, Sound, Window, Windows

sys.path.append(str(Path(__file__).parents[2]))

RATIOS = (7.0, 16.0)  # dB, of the speech over the music
AROUND = 0.6  # s at the most, before and after the talk


class Separated:
    """``windows``, and where a whole talk is no longer than what is asked for, mostly one of ``talks``."""

    def __init__(self, windows: Windows, talks: int) -> None:
        self._windows, self.rng = windows, windows.rng
        separate = _separator()
        self._talks = [self._made(separate) for _ in range(talks)]

    def renew(self) -> None:
        self._windows.renew()

    def draw(self, seconds: float, dense: bool = False) -> Window:
        fitting = [window for window in self._talks if len(window.sound) <= seconds * RATE]
        if not fitting or self.rng.random() < 0.15:
            return self._windows.draw(seconds, dense)
        window = fitting[self.rng.integers(len(fitting))]
        return Window(window.sound * np.float32(10 ** self.rng.uniform(-0.5, 0.3)), window.parts)

    def _made(self, separate: Any) -> Window:
        from tests.models.make_conversation import music, talk

        sound, turns = talk(self.rng, self._windows.speaker)
        before, after = (round(self.rng.uniform(0, AROUND) * RATE) for _ in range(2))
        sound = np.pad(sound, (before, after))
        heard = separate(sound + music(self.rng, len(sound), self.rng.uniform(*RATIOS)))
        parts = [Part("en", [word.later(before + start) for word in phrase.words]) for start, phrase, _ in turns]
        return Window(heard, parts)


def _separator() -> Any:
    """A function that takes mono sound and gives the voices in it, as the stage does."""
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import load_file

    from tests.models.make_tiny_demucs import ARGUMENTS

    net = HTDemucs(**ARGUMENTS)
    net.load_state_dict(load_file(Path(__file__).parent / "tiny-demucs" / "model.safetensors"))
    net.eval()

    def voices(sound: Sound) -> Sound:
        both = torch.from_numpy(np.stack([sound, sound]))
        mean, std = both.mean(), both[0].std() + 1e-8
        with torch.no_grad():
            found = apply_model(net, ((both - mean) / std)[None], shifts=0)[0, 1].mean(0) * std + mean
        return found.numpy()

    return voices


def main(checkpoint: Path, folder: Path, talks: int = 40, frames: int = 650) -> None:
    windows = Separated(Windows(np.random.default_rng(77), store=500), talks)
    pupil = make_tiny_whisper.Pupil()
    pupil.load_state_dict(torch.load(checkpoint)["pupil"])
    make_tiny_whisper.FRAMES_A_STEP = 3 * frames
    lesson = make_tiny_whisper.Stage(100, 4e-4, 4e-4, {frames: 1}, {frames: 1})
    make_tiny_whisper.train(pupil, windows, lesson, folder.with_suffix(".pt"), len(make_tiny_whisper.STAGES))
    make_tiny_whisper.save(pupil, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
