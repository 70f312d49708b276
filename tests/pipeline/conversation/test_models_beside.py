"""The stages beside the recogniser with models of the real classes, out of a folder of models: that they run in a job,
stay warm, and that a job outlives those that are damaged and extras that are not installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pipeline.companions import Companions, companions_in
from pipeline.models import Models
from pipeline.models.nemo import NemoModel
from pipeline.plan import ALIGNING, DIARIZING, SEPARATING
from tests.pipeline.conversation.conversation_rig import SAID, Cached, Recogniser, Scripted
from tests.pipeline.diarization.conftest import random_sortformer, random_speakers

pytestmark = pytest.mark.heavy

__all__ = ["random_sortformer", "random_speakers"]

TINY = Path(__file__).parents[2] / "models"
ALL = {"stemming": "true", "diarize": True, "language": "en"}


class Real(Models):
    """Everything is real but the recogniser."""

    def __init__(self) -> None:
        super().__init__()
        self.scripted = Scripted()
        self.asked = self.scripted.asked

    def get(self, model: Any) -> Any:
        return Recogniser(self.scripted)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, random_sortformer: NemoModel, random_speakers: NemoModel) -> Path:
    """A folder of models, one of each kind."""
    folder = tmp_path_factory.mktemp("shelf")
    for name in ("tiny-demucs", "tiny-aligner"):
        shutil.copytree(TINY / name, folder / name)
    shutil.copy(random_sortformer.path, folder / "sortformer.nemo")
    shutil.copy(random_speakers.path, folder / "voices.nemo")
    return folder


@pytest.fixture(scope="module")
def warm() -> Real:
    return Real()


def of(folder: Path) -> Companions:
    return companions_in(str(folder), folder / "home")


def run(cached: Cached, models: Real, companions: Companions, **asked: Any) -> Any:
    return cached.run(models, companions, **asked)  # type: ignore[arg-type]


def test_real_models_of_all_stages_in_one_job(cached: Cached, shelf: Path, warm: Real) -> None:
    """Nothing is degraded: the stem, aligned words and speakers are made by demucs', NeMo's and our code, and the
    result names each model.
    """
    made = run(cached, warm, of(shelf), **ALL)
    assert made.degraded == {}
    assert {one.arch for one in made.facts.models} == {"none", "htdemucs", "ctc", "sortformer"}
    assert all("speaker" in word for word in made.words)
    assert [word["punctuated_word"] for word in made.words] == list(SAID)
    many = run(cached, warm, of(shelf), **ALL, speakers=6)
    assert many.degraded == {}
    assert many.facts.diarizer.arch == "voices"
    assert many.artifacts == ["diarizing.json", "generating_output.json"]


def test_models_stay_loaded_from_job_to_job(shelf: Path, warm: Real, tmp_path: Path) -> None:
    """The same model of the same folder is the same object, whatever job asks; a new revision takes its place."""
    companions = of(shelf)
    assert companions.separator is not None
    assert companions.few is not None
    assert warm.separator(companions.separator) is warm.separator(of(shelf).separator or companions.separator)
    assert warm.few(companions.few) is warm.few(companions.few)
    assert warm.aligners(companions.aligners) is warm.aligners(of(shelf).aligners)
    old = warm.few(companions.few)
    anew = tmp_path / companions.few.file
    anew.write_bytes((shelf / companions.few.file).read_bytes() + bytes(512))
    assert warm.few(of(tmp_path).few or companions.few) is not old


DAMAGED = {
    "tiny-demucs/model.safetensors": (SEPARATING, "tiny-demucs"),
    "tiny-aligner/tiny-aligner.nemo": (ALIGNING, "tiny-aligner"),
    "sortformer.nemo": (DIARIZING, "sortformer"),
}


@pytest.mark.parametrize("how", ["cut off", "scribbled over"])
@pytest.mark.parametrize("file", DAMAGED)
def test_damaged_weights_are_told_by_name(cached: Cached, shelf: Path, tmp_path: Path, file: str, how: str) -> None:
    """Cut off or overwritten: the job is done without that stage, and the reason names the model."""
    stage, name = DAMAGED[file]
    folder = tmp_path / "models"
    shutil.copytree(shelf, folder)
    (folder / "voices.nemo").unlink()
    body = (folder / file).read_bytes()
    half = len(body) // 2
    (folder / file).write_bytes(body[:half] if how == "cut off" else body[:2048] + b"\xff" * (len(body) - 2048))
    made = run(cached, Real(), of(folder), **ALL)
    assert set(made.degraded) == {stage}
    assert name in made.degraded[stage]
    assert len(made.words) == len(SAID)


_WITHOUT = """
    import json, sys
    from pathlib import Path

    ABSENT = {"torch", "torchaudio", "nemo", "demucs", "numba", "omegaconf", "safetensors"}

    class Without:
        # A way to find modules, to which those are not installed.

        def __init__(self, finder):
            self._finder = finder

        def __getattr__(self, name):
            return getattr(self._finder, name)

        def find_spec(self, name, path=None, target=None):
            return None if name.partition(".")[0] in ABSENT else self._finder.find_spec(name, path, target)

    sys.meta_path[:] = map(Without, sys.meta_path)
    from tests.pipeline.conversation.test_models_beside import TINY, ALL, Cached, Real, of, run
    folder, speech, shelf = map(Path, sys.argv[1:])
    made = run(Cached(folder, speech), Real(), of(shelf), **ALL)
    print(json.dumps([made.degraded, [word["punctuated_word"] for word in made.words]]))
"""


def test_without_the_extra_every_stage_says_so(tmp_path: Path, speech: Path, shelf: Path) -> None:
    """Models are there, but torch, NeMo and demucs are not: words come out, and each stage's reason names the extra
    that is to be installed.
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_WITHOUT), str(tmp_path), str(speech), str(shelf)],
        cwd=TINY.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-2000:]
    degraded, words = json.loads(said.stdout.splitlines()[-1])
    assert set(degraded) == {SEPARATING, ALIGNING, DIARIZING}
    for reason in degraded.values():
        assert "dropscribe[models]" in reason, reason
    assert words == list(SAID)
