"""A fleet without internet: its models lie in a bucket, and the workers bring them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from handler.cli import main
from handler.clock import SystemClock
from handler.errors import EXIT_NO_PERMISSION, EXIT_UNAVAILABLE
from handler.models.push import push, to_push
from handler.store.s3 import S3Store
from pipeline import weights
from tests.end_to_end.bucket_rig import Rig, transcript_of, warnings_of

MakeRig = Callable[..., Rig]


@pytest.fixture
def models(s3_client: Any, s3_bucket: str) -> Iterator[S3Store]:
    """An empty prefix for models, in the bucket of the recordings."""
    store = S3Store(s3_bucket, "models", clock=SystemClock())
    yield store
    store.close()


@pytest.fixture
def changed_whisper(fixed_whisper: Path, tmp_path: Path) -> Path:
    """The same Whisper with another revision: a comment in its configuration."""
    folder = Path(shutil.copytree(fixed_whisper, tmp_path / "changed"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "comment": "another"}))
    return folder


def put(models: S3Store, name: str, folder: Path) -> str:
    return push(models, name, folder, to_push(folder)).revision


def model_of(result: dict[str, Any]) -> dict[str, Any]:
    [info] = result["metadata"]["model_info"].values()
    found: dict[str, Any] = info
    return found


def jobs_of(rig: Rig) -> list[dict[str, Any]]:
    prefix = ".dropscribe/v1/jobs/"
    return [json.loads(rig.read(prefix + key) or b"") for key in rig.keys(prefix)]


def test_a_worker_brings_its_model_and_transcribes(
    models: S3Store, s3_bucket: str, s3_client: Any, fixed_whisper: Path, speech: Path, tmp_path: Path
) -> None:
    """`dropscribe work` with DROPSCRIBE_MODELS on a bucket, and nothing on its disk, does the work with what lies
    there; the second worker of that host downloads nothing.
    """
    put(models, "small", fixed_whisper)
    s3_client.upload_file(str(speech), s3_bucket, "fleet/input/a.flac")
    env = {
        "DROPSCRIBE_MODELS": models.url,
        "DROPSCRIBE_HOME": str(tmp_path / "home"),
        "DROPSCRIBE_WORK_DIR": str(tmp_path / "work"),
    }

    def work() -> None:
        done = CliRunner(env=env).invoke(main, ["work", f"s3://{s3_bucket}/fleet", "--drain"])
        assert done.exit_code == 0, done.stderr

    work()
    body = s3_client.get_object(Bucket=s3_bucket, Key="fleet/results/a.flac.json")["Body"].read()
    result = json.loads(body)
    assert transcript_of(result) == "Alpha Bravo."
    assert model_of(result)["name"] == "small"
    assert warnings_of(result) == set()
    [place] = (tmp_path / "home" / "mirrors").glob("*/small@*")
    stamp = (place / "model.bin").stat()
    work()
    assert (place / "model.bin").stat() == stamp


def test_run_uses_the_bucket_too(models: S3Store, fixed_whisper: Path, speech: Path, tmp_path: Path) -> None:
    """`dropscribe run` on one file finds its model there as well."""
    put(models, "base", fixed_whisper)
    env = {"DROPSCRIBE_MODELS": models.url, "DROPSCRIBE_HOME": str(tmp_path / "home")}
    done = CliRunner(env=env).invoke(main, ["run", str(speech), "--model", "base"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == "Alpha Bravo."


def test_a_recordings_own_model_is_brought_when_it_is_named(
    make_s3_rig: MakeRig, models: S3Store, fixed_whisper: Path, speech: Path
) -> None:
    """A model that only one recording names is brought then; one that is not there fails that recording alone."""
    for name in ("small", "tiny"):
        put(models, name, fixed_whisper)
    rig = make_s3_rig(models=models.url, max_attempts=2)
    mirrors = rig.settings.home / "mirrors"
    rig.drop("a.flac", speech)
    rig.drain()
    assert model_of(rig.result("a.flac"))["name"] == "small"
    assert not list(mirrors.glob("*/tiny*"))
    rig.drop("b.flac", speech, sidecar={"model": "tiny"})
    rig.drop("c.flac", speech, sidecar={"model": "medium"})
    rig.drain()
    assert model_of(rig.result("b.flac"))["name"] == "tiny"
    assert list(mirrors.glob("*/tiny@*"))
    error = rig.error("c.flac")
    assert (error["err_code"], error["attempts"]) == ("MODEL_UNAVAILABLE", 2)
    assert "small, tiny" in error["hint"]


def test_a_new_revision_is_noticed_by_who_starts(
    make_s3_rig: MakeRig, models: S3Store, fixed_whisper: Path, changed_whisper: Path, speech: Path
) -> None:
    """A worker that runs goes on with its weights, whatever is pushed; the next one uses the new ones, and caches of
    the old ones are not taken for theirs.
    """
    old = put(models, "small", fixed_whisper)
    rig = make_s3_rig(models=models.url)
    rig.drop("a.flac", speech)
    rig.drain()
    new = put(models, "small", changed_whisper)
    rig.drop("b.flac", speech, metadata={"dropscribe": "smart_format=true"})
    rig.drain()
    rig.new_worker()
    rig.drop("c.flac", speech)
    rig.drain()
    assert sorted(job["model"]["revision"] for job in jobs_of(rig)) == sorted([old, old, new])


@pytest.mark.parametrize(("key", "code", "said"), [
    ("nowhere", EXIT_UNAVAILABLE, "no Whisper weights"), ("", EXIT_NO_PERMISSION, "s3:ListBucket"),
])  # fmt: skip
def test_a_worker_without_its_model_does_not_start(
    key: str, code: int, said: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No model, or no permission to look for one: one line, an exit code, and nothing claimed; never sphinx."""
    if not key:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
    env = {"DROPSCRIBE_MODELS": f"s3://{s3_bucket}/{key}", "DROPSCRIBE_HOME": str(tmp_path / "home")}
    done = CliRunner(env=env).invoke(main, ["work", str(tmp_path), "--drain"])
    assert done.exit_code == code, done.stderr
    assert said in done.stderr.splitlines()[-1]


def test_weights_that_change_under_a_worker_are_noticed(
    make_folder_rig: MakeRig, fixed_whisper: Path, changed_whisper: Path, speech: Path, tmp_path: Path
) -> None:
    """Weights put over those that were chosen are an attempt that failed, not a result under the old revision; the
    next attempt has chosen the new ones.
    """
    shutil.copytree(fixed_whisper, tmp_path / "mine" / "small")
    rig = make_folder_rig(models=str(tmp_path / "mine"))
    rig.drop("a.flac", speech)
    folder = tmp_path / "mine" / "small"
    run = rig.engine.run

    def overwritten(*given: Any, **named: Any) -> Any:
        shutil.copyfile(changed_whisper / "config.json", folder / "config.json")
        rig.engine.run = run  # type: ignore[method-assign]
        rig.engine.close()  # so that it loads the weights anew
        return run(*given, **named)

    rig.engine.run = overwritten  # type: ignore[method-assign]
    rig.drain()
    assert transcript_of(rig.result("a.flac")) == "Alpha Bravo."
    ended = {
        job["model"]["revision"]: (job["state"], [failure["error"]["code"] for failure in job["failures"]])
        for job in jobs_of(rig)
    }
    now, _ = weights.identity(folder)
    assert ended.pop(now) == ("done", [])
    [(state, codes)] = ended.values()
    assert (state != "done", codes) == (True, ["WEIGHTS_CHANGED"])
