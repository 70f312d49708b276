"""The Dockerfile's own steps, run in folders: what comes of the code, and (long) the whole target `cpu` at work."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from dockerfile_rig import Builder, NoRegistry, read
from infra_tools import ROOT, tool

LARGEST_PUSH = 5_000_000  # bytes, of the layer that a change of code makes anew
UNRUN = frozenset({"runtime"})  # makes a user, which only root can

# What Debian's slim image has and a wheel may count on.
SYSTEM = re.compile(
    r"^(lib(c|m|mvec|dl|rt|pthread|util|gcc_s|stdc\+\+|z)\.so\.\d+|linux-vdso\.so\.1|/lib64/ld-linux.*)$"
)


def make(folder: Path) -> Builder:
    return Builder(read((ROOT / "Dockerfile").read_text("utf-8")), ROOT, folder, UNRUN)


def build(builder: Builder, stage: str) -> Path:
    try:
        return builder.build(stage)
    except NoRegistry as error:
        pytest.skip(f"the package index does not answer: {error}")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code stage's root."""
    return build(make(tmp_path_factory.mktemp("image")), "code")


def pushed(folder: Path) -> int:
    """Bytes of the folder as a layer goes over the wire."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        archive.add(folder, arcname=".")
    return len(packed.getvalue())


def test_a_change_of_code_pushes_little(code: Path) -> None:
    """The layer that is made from the code is at most 5 MB, and has nothing else in it."""
    assert pushed(code / "code") <= LARGEST_PUSH
    (packages,) = (code / "code" / "lib").glob("python*/site-packages")
    there = {path.name.partition("-")[0] for path in packages.iterdir()}
    assert there == {"handler", "pipeline", "dropscribe"}


def test_the_code_is_whole_and_compiled(code: Path) -> None:
    """Each file of the packages is in it, and each module has its bytecode, which is taken without a look at the time:
    a read-only image could not make it, and an older clock would not find it.
    """
    (packages,) = (code / "code" / "lib").glob("python*/site-packages")
    for package in ("handler", "pipeline"):
        ours = {
            p.relative_to(ROOT) for p in (ROOT / package).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        }
        assert ours <= {p.relative_to(packages) for p in packages.rglob("*")}
    modules = [*packages.rglob("*.py")]
    for module in modules:
        (compiled,) = (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc")
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{compiled}: not hashed and unchecked"


def test_the_command_names_the_images_python(code: Path) -> None:
    """`dropscribe` begins with the environment that the libraries lie in, as the final stage has it."""
    first = (code / "code" / "bin" / "dropscribe").read_text("utf-8").splitlines()[0]
    assert first == f"#!{code}/opt/venv/bin/python"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_target_cpu_transcribes(tmp_path: Path) -> None:
    """The target `cpu`, from its lock file alone, in a bare environment: needs no library that Debian's slim image
    lacks, and on a root that is read-only, with one folder to write to, makes a transcript and a healthy drain.
    """
    builder = make(tmp_path / "image")
    image = build(builder, "cpu")
    venv = image / "opt" / "venv"
    assert outside(venv) == []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    python, command = venv / "bin" / "python", venv / "bin" / "dropscribe"
    said = builder.dockerfile.environment("cpu")
    moved = {"/tmp": str(scratch), "/var/lib/dropscribe": str(scratch), "/opt": f"{image}/opt"}
    environment = {name: _moved(value, moved) for name, value in said.items()}
    environment |= {"PATH": f"{venv}/bin:/usr/bin:/bin", "TMPDIR": str(scratch), "DROPSCRIBE_HTTP_PORT": "0"}
    steps = f"""
        mount -t tmpfs tmpfs {scratch}
        mount -o remount,bind,ro /
        if touch {tmp_path}/written 2>/dev/null; then echo this root can be written to >&2; exit 9; fi
        cd {scratch}
        mkdir -p bucket/input && cp {ROOT}/examples/jfk.flac bucket/input/
        {python} -I {command} work bucket --drain >&2
        cat bucket/results/jfk.flac.json
    """
    unshare = tool("unshare", "it comes with util-linux")
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-ec", steps],
        env={**environment, "LANG": os.environ.get("LANG", "C.UTF-8")},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"this kernel lets nobody make a namespace: {done.stderr}")
    assert done.returncode == 0, done.stderr
    words = json.loads(done.stdout)["results"]["channels"][0]["alternatives"][0]["transcript"]
    assert "fellow americans" in words


def _moved(value: str, places: dict[str, str]) -> str:
    start = next((one for one in places if value.startswith(one)), None)
    return value if start is None else places[start] + value.removeprefix(start)


def outside(venv: Path) -> list[str]:
    """Libraries that something in the environment wants and neither the environment nor Debian's slim image has."""
    found = set()
    for path in venv.rglob("*.so*"):
        if path.is_symlink():
            continue
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        for line in said.splitlines():
            name, _, place = line.strip().partition(" => ")
            if str(venv) not in place and not SYSTEM.match(name.split(" (")[0]) and "statically" not in name:
                found.add(f"{path.name} wants {line.strip()}")
    return sorted(found)
