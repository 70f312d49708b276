"""The voices of a job's recording: when they are separated, what is kept, and what happens where it cannot be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelUnavailable, OutOfMemory
from pipeline.stages.audio import Audio
from pipeline.voices import STEM, voices
from tests.pipeline import synthetic_sound as made
from tests.pipeline.demucs_rig import decoded, whole
from tests.pipeline.media import write_audio
from tests.pipeline.test_separate import Passing

RATE = 16_000


def of(tmp_path: Path, sound: Any, load: Any = Passing, **asked: Any) -> tuple[Audio | None, Path]:
    tmp_path.mkdir(exist_ok=True)
    source = write_audio(tmp_path / "a.wav", np.atleast_2d(sound), RATE)
    narrow = tmp_path / "narrow"
    audio = decoded(source, narrow) if not narrow.exists() else decoded(source, tmp_path / "narrow-again")
    folder = tmp_path / ("voices" if not (tmp_path / "voices").exists() else "voices-again")
    return voices(source, audio, folder, tmp_path / STEM, load, lambda done, total: None, **asked), folder


def song() -> Any:
    chance = np.random.default_rng(5)
    return made.chords(chance, 12.0, RATE) + 0.5 * made.arpeggio(chance, 12.0, RATE)


def nobody() -> Any:
    raise AssertionError("the separator was loaded")


def test_auto_separates_where_there_is_music(tmp_path: Path) -> None:
    """With auto a song is separated, and noise is left as it is without the separator being loaded."""
    found, folder = of(tmp_path / "song", song())
    assert found is not None
    assert found.samples == 12 * RATE
    assert [path.name for path in folder.iterdir()] == ["track-0.s16"]
    assert (tmp_path / "song" / STEM).exists()
    found, _ = of(tmp_path / "noise", made.pink(np.random.default_rng(1), 12.0, RATE), nobody)
    assert found is None
    assert not (tmp_path / "noise" / STEM).exists()


def test_true_separates_whatever_it_is(tmp_path: Path) -> None:
    """With true nobody asks whether there is music."""
    found, _ = of(tmp_path, made.pink(np.random.default_rng(1), 1.0, RATE), asked="true")
    assert found is not None


def test_what_was_kept_is_not_made_again(tmp_path: Path) -> None:
    """A stem that is there is taken, to the bit, without a model; a damaged one is made again."""
    first, _ = of(tmp_path, song())
    second, _ = of(tmp_path, song(), nobody)
    assert first is not None
    assert second is not None
    assert np.array_equal(whole(first), whole(second))
    (tmp_path / STEM).write_bytes(b"damaged")
    source = tmp_path / "a.wav"
    again = voices(source, second, tmp_path / "third", tmp_path / STEM, Passing, lambda done, total: None, asked="true")
    assert again is not None
    assert (tmp_path / STEM).stat().st_size > 1000


@pytest.mark.parametrize("error", [ModelUnavailable("no weights are here"), OutOfMemory("memory ran out")])
def test_what_cannot_be_done_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    """Without weights or memory that is what is told, and nothing is kept that would be believed later."""

    def load() -> Any:
        raise error

    with pytest.raises(type(error), match=str(error)):
        of(tmp_path, song(), load)
    assert not (tmp_path / STEM).exists()


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    """A job that is told to stop while voices are separated leaves neither the wide sound nor a stem."""
    source = write_audio(tmp_path / "a.wav", np.atleast_2d(song()), RATE)
    audio = decoded(source, tmp_path / "narrow")

    def stop(done: float, total: float | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        voices(source, audio, tmp_path / "voices", tmp_path / STEM, Passing, stop, asked="true")
    assert not (tmp_path / STEM).exists()
    assert [path.name for path in (tmp_path / "voices").iterdir()] == ["track-0.s16"]
