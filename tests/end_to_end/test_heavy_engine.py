"""One process holds everything: torch, demucs and NeMo beside ctranslate2, PyAV and onnxruntime, and a job still runs.

Each of them brings native libraries of its own (OpenMP, BLAS, CUDA); which of them is loaded first decides whose are
used, so they are loaded in both orders.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import media

SECONDS = 240  # NeMo's first import alone takes up to 20 s; more on a machine that is busy

CODE = """
import json, sys
from pathlib import Path

from pipeline.catalog import resolve
from pipeline.engine import answer
from pipeline.models import Models
from pipeline.options import Options
from pipeline.types import JobRequest

def heavy():
    import torch, demucs.apply, nemo.collections.asr
    assert torch.ones(64, 64).matmul(torch.ones(64, 64)).sum() == 64 ** 3

def job(name):
    work = Path(sys.argv[2]) / name
    work.mkdir()
    (work / "source.flac").symlink_to(sys.argv[3])
    request = JobRequest(work=str(work), source="source.flac", options=Options().model_dump(mode="json"),
                         model=resolve(sys.argv[4], None, work, trusted=True).model_dump(mode="json"), seed="0")
    end = answer(request.model_dump_json().encode(), Models(), lambda event: None)
    assert end.type == "done", end
    return json.loads((work / "generating_output.json").read_bytes())

steps = {"models first": (heavy, job), "a job first": (job, heavy, job)}[sys.argv[1]]
results = [step(f"job-{n}") if step is job else step() for n, step in enumerate(steps)]
print(json.dumps({"results": [r for r in results if r], "modules": sorted({m.partition(".")[0] for m in sys.modules})}))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("order", ["models first", "a job first"])
def test_torch_demucs_and_nemo_beside_ctranslate2(
    order: str, fixed_whisper: Path, speech: Path, tmp_path: Path
) -> None:
    """In one engine process, whichever comes first, all of them load, compute, and Whisper's words are the same."""
    command = [sys.executable, "-c", CODE, order, str(tmp_path), str(speech), str(fixed_whisper)]
    done = subprocess.run(command, cwd=media.ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"torch", "demucs", "nemo", "ctranslate2", "av", "onnxruntime"} <= set(told["modules"])
    for result in told["results"]:
        assert result["channels"][0]["alternatives"][0]["transcript"] == "Alpha Bravo."
