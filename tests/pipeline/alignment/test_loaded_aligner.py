"""Aligners stay loaded, one at a time, and make do with the memory that there is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.aligners import AlignerModel, aligner_in
from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable, OutOfMemory
from pipeline.models.aligner import SHORTEST, Aligners, Columns, Samples, Scores, letters
from pipeline.models.ladder import Rung
from pipeline.stages.align import aligned
from pipeline.types import SAMPLE_RATE
from tests.pipeline.alignment.align_rig import HUSH, Reader, Tracks, quiet, spelt, transcript, word
from tests.pipeline.alignment.test_aligners import put

CPU = DeviceSettings(device="cpu")


class Shelf:
    """Networks that read what `spelt` wrote, in a machine with room for so many pieces at once."""

    step = 0.02

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.opened: list[str] = []
        self.released: list[str] = []
        self.lengths: list[list[int]] = []

    def open(self, model: AlignerModel, rung: Rung) -> _Network:
        self.opened.append(model.info.name)
        return _Network(self, model.info.name)


class _Network:
    step = Shelf.step

    def __init__(self, shelf: Shelf, name: str) -> None:
        self._shelf, self._name, self._reader = shelf, name, Reader()
        self.columns: Columns = self._reader.columns

    def hear(self, pieces: Sequence[Samples]) -> list[Scores]:
        self._shelf.lengths.append([len(piece) for piece in pieces])
        if len(pieces) > self._shelf.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return self._reader.emissions(pieces)

    def release(self) -> None:
        self._shelf.released.append(self._name)


def aligners(tmp_path: Path, shelf: Shelf, settings: DeviceSettings = CPU) -> Aligners:
    put(tmp_path, "english", "en")
    put(tmp_path, "german", "de", delay=0.1)
    return Aligners(map(aligner_in, sorted(tmp_path.iterdir())), settings, shelf.open)


def _hush(samples: int) -> Samples:
    return np.full(samples, HUSH, np.float32)


def test_kept_warm(tmp_path: Path) -> None:
    """The same aligner is loaded once for many jobs, and gives way before another one is loaded."""
    shelf = Shelf()
    here = aligners(tmp_path, shelf)
    assert here.get("en") is here.get("en-US")
    assert here.get("de").delay == 0.1
    assert shelf.released == ["english"]
    here.get("en")
    assert (shelf.opened, shelf.released) == (["english", "german", "english"], ["english", "german"])
    here.unload()
    assert shelf.released[2:] == ["english"]


def test_short_pieces_are_filled_up(tmp_path: Path) -> None:
    """A piece of a few samples reaches the model as half a second."""
    shelf = Shelf()
    found = aligners(tmp_path, shelf).get("en").emissions([_hush(5), _hush(SAMPLE_RATE)])
    assert shelf.lengths == [[SHORTEST, SAMPLE_RATE]]
    assert [len(one) for one in found] == [25, 50]


def test_smaller_batches_when_memory_runs_out(tmp_path: Path) -> None:
    """The stage's words are the same however few pieces fit at once; what failed is done again."""
    said = [(5.0, "ab"), (35.0, "cd"), (65.0, "ef")]
    words = transcript([word(text, start - 0.2, start + 0.4) for start, text in said], seconds=70)
    sound = Tracks([spelt(70, *said)])
    shelf = Shelf(room=1)
    done = aligned(words, sound, aligners(tmp_path, shelf).get, quiet)
    assert done == aligned(words, sound, aligners(tmp_path / "roomy", Shelf()).get, quiet)
    assert done.lacking is None
    assert [len(call) for call in shelf.lengths] == [2, 1, 1, 1]


def test_no_memory_at_all(tmp_path: Path) -> None:
    """Where not even one piece fits, the words keep their times, and why is told once."""
    words = transcript([word("ab", 1, 2), word("cd", 40, 41)])
    sound = Tracks([spelt(60, (1.0, "ab"))])
    done = aligned(words, sound, aligners(tmp_path, Shelf(room=0)).get, quiet)
    assert done.transcript == words
    assert done.lacking is not None
    assert done.lacking.count("machine's memory ran out") == 1
    with pytest.raises(OutOfMemory):
        aligners(tmp_path / "again", Shelf(room=0)).get("en").emissions([_hush(9)])


def test_torchaudio_wants_a_gpu(tmp_path: Path) -> None:
    """Without one such an aligner is refused before anything of it is loaded."""
    put(tmp_path, "wav2vec", "en", backend="torchaudio", bundle="WAV2VEC2_ASR_BASE_960H")
    shelf = Shelf()
    with pytest.raises(ModelUnavailable, match="needs a GPU"):
        Aligners(map(aligner_in, sorted(tmp_path.iterdir())), CPU, shelf.open).get("en")
    assert shelf.opened == []


_WITHOUT = """
import json, sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # as if it were not installed
from pathlib import Path
from pipeline.aligners import aligner_in
from pipeline.devices import DeviceSettings
from pipeline.models.aligner import Aligners
from pipeline.stages.align import aligned
from tests.pipeline.alignment.align_rig import Tracks, quiet, spelt, transcript, word
here = Aligners(map(aligner_in, Path(sys.argv[1]).iterdir()), DeviceSettings(device=sys.argv[3]))
before = transcript([word("ab", 1, 2), word("cd", 40, 41)])
done = aligned(before, Tracks([spelt(60, (1.0, "ab"))]), here.get, quiet)
print(json.dumps([done.transcript == before, done.lacking]))
"""


@pytest.mark.parametrize(
    ("absent", "device", "missing"),
    [("torch,nemo", "auto", "torch"), ("nemo", "cpu", "nemo"), ("torch,nemo", "cpu", "")],
)
def test_without_the_extra(tmp_path: Path, absent: str, device: str, missing: str) -> None:
    """Where the libraries are not installed the words keep their times, and the reason names the extra."""
    put(tmp_path, "english", "en")
    arguments = [str(tmp_path), absent, device]
    ran = subprocess.run([sys.executable, "-c", _WITHOUT, *arguments], capture_output=True, text=True, check=True)
    same, lacking = json.loads(ran.stdout.splitlines()[-1])
    assert same
    assert "alignment needs the extra `models`" in lacking
    assert "pip install 'dropscribe[models]'" in lacking
    assert missing in lacking


def test_labels_and_letters() -> None:
    """A column is a letter's, the space's, or of no use."""
    assert letters(["a", " ", "b", "<noise>", "'"]) == ({"a": 0, "b": 2, "'": 4}, 1)
    assert letters(["|", "e"], ("|",)) == ({"e": 1}, 0)
    assert letters(["x"]) == ({"x": 0}, None)
