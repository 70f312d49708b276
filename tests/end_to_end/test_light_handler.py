"""The handler stays light: what a worker's process imports, how much memory it takes, and that results pass unread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock
from handler.store.opening import open_store
from pipeline.formats.deepgram import results_part
from pipeline.options import Options
from pipeline.types import ChannelTranscript, MediaInfo, ModelInfo, Transcript, Word
from tests.deepgram_contract import check_result
from tests.end_to_end.bucket_rig import FolderBucket, S3Bucket
from tests.pipeline import media

HEAVY = {
    *("torch", "torchaudio", "nemo", "demucs", "numba", "ctranslate2", "faster_whisper", "pocketsphinx"),
    *("av", "numpy", "onnxruntime", "tokenizers", "huggingface_hub", "transformers"),
}
S3 = {"boto3", "botocore", "s3transfer"}
NOT_FOR_HELP = HEAVY | S3 | {"rich", "pydantic", "pydantic_settings", "tenacity", "asyncio"}
RESIDENT = 120.0  # MB
HANGS_SECONDS = 60  # a drain that is not over by then never will be
MARKER = '\ue000not JSON at all: {["€\n'.encode()  # nothing that reads results as JSON lets this through

Drop = Callable[[str, bytes], None]


@pytest.fixture(params=["folder", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Drop]:
    """A bucket's URL, and the way to drop something into it."""
    if request.param == "folder":
        folder = FolderBucket(tmp_path / "bucket")
        return folder.path.as_uri(), folder.drop
    s3 = S3Bucket(request.getfixturevalue("s3_bucket"), request.getfixturevalue("s3_client"))
    return f"s3://{s3.name}", s3.drop


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "DROPSCRIBE_MODEL": "sphinx",
        "DROPSCRIBE_HOME": str(tmp_path / "home"),
        "DROPSCRIBE_WORK_DIR": str(tmp_path / "work"),
        "DROPSCRIBE_SETTLE_SECONDS": "0",
        "DROPSCRIBE_SCAN_SECONDS": "0.05",
    }


def live(url: str, environment: dict[str, str], *results: Path) -> dict[str, Any]:
    """What is left to say of a worker's process that drained the bucket and ended."""
    command = [sys.executable, "-m", "tests.end_to_end.drained_worker", url, *map(str, results)]
    done = subprocess.run(
        command,
        cwd=media.ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def result(url: str, key: str) -> bytes:
    return open_store(url, SystemClock()).get(f"results/{key}.json").body


def packages(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_a_worker_imports_nothing_heavy(bucket: tuple[str, Drop], environment: dict[str, str], speech: Path) -> None:
    """A worker that has seen a recording to its end has imported no model, no codec and no numpy, and is small."""
    url, drop = bucket
    drop("input/a.flac", speech.read_bytes())
    told = live(url, environment)
    check_result(result(url, "a.flac"))
    assert packages(told["modules"]).isdisjoint(HEAVY)
    assert ("boto3" in told["modules"]) == url.startswith("s3://")
    assert told["rss"] <= RESIDENT
    assert told["peak"] <= RESIDENT


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["work", "--help"], ["run", "--help"]], ids=" ".join)
def test_help_imports_next_to_nothing(args: list[str]) -> None:
    """Asking for help loads click and the words of the help; a command's own help no store and no model either."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    code += f"from handler.cli import main; main({args!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=media.ROOT, capture_output=True, text=True, check=True)
    modules = done.stderr.split()
    assert "handler.cli" in modules
    barred = NOT_FOR_HELP if len(args) == 1 else HEAVY | S3
    assert packages(modules).isdisjoint(barred), sorted(packages(modules) & barred)


@pytest.mark.parametrize("times", [1, 40_000], ids=["inline", "as a blob"])
def test_results_pass_unread(bucket: tuple[str, Drop], environment: dict[str, str], tmp_path: Path, times: int) -> None:
    """What the engine wrote comes out byte for byte, even what is no JSON: the handler never parses results."""
    url, drop = bucket
    results = tmp_path / "results"
    results.write_bytes(MARKER * times)
    drop("input/a.flac", b"a recording that this engine does not open")
    live(url, environment, results)
    body = result(url, "a.flac")
    metadata, separator, rest = body.partition(b',"results":')
    assert separator
    assert rest == results.read_bytes() + b"}"
    assert json.loads(metadata + b"}")["metadata"]["channels"] == 1


@pytest.fixture(scope="module")
def long_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results part of ten hours of speech: 100,000 words, in sentences."""
    words = tuple(
        Word(
            text=f"word{number % 977}{'.' if number % 12 == 11 else ''}",
            start=number * 0.36,
            end=number * 0.36 + 0.3,
            confidence=number % 1000 / 1000,
        )
        for number in range(100_000)
    )
    transcript = Transcript(
        media=MediaInfo(duration=36_000.0, channels=1, container="wav", codec="pcm_s16le"),
        channels=(ChannelTranscript(words=words, language="en"),),
        punctuated=True,
        model=ModelInfo(name="long", version="1", arch="whisper", revision="0"),
    )
    path = tmp_path_factory.mktemp("long") / "results"
    path.write_bytes(results_part(transcript, Options(), "seed"))
    return path


def test_a_hundred_thousand_words(bucket: tuple[str, Drop], environment: dict[str, str], long_results: Path) -> None:
    """Ten hours of words go through a worker in little more memory than their own bytes."""
    url, drop = bucket
    drop("input/long.flac", b"ten hours")
    told = live(url, environment, long_results)
    size = long_results.stat().st_size / 2**20
    assert size > 15
    assert told["peak"] <= RESIDENT + 3 * size
    body = result(url, "long.flac")
    assert body.endswith(long_results.read_bytes() + b"}")
    if not url.startswith("s3://"):
        words = check_result(body)["results"]["channels"][0]["alternatives"][0]["words"]
        assert len(words) == 100_000
