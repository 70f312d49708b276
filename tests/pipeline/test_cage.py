"""What a process in a cage cannot do any more, told from inside; each attempt works without the cage."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cage.confine import OPEN_FILES, PROCESSES
from pipeline.memory import machine_bytes

CAGED = Path(__file__).with_name("caged.py")
ROOT = Path(__file__).parents[2]
SECRET = "wJalrXUtnFEMI"
GIB = 2**30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cage is made of Linux's parts")


def tried(cage: dict[str, Any] | None, *attempts: tuple[str, Any], env: dict[str, str] | None = None) -> dict[str, Any]:
    """What came of the attempts in a new process, in that cage."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, "-P", str(CAGED), json.dumps(cage), json.dumps(attempts)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    for part in ("Landlock", "seccomp"):
        if any(part in line for line in told["lacking"]):
            pytest.skip(f"this kernel allows no {part}")
    return told


def outcomes(cage: dict[str, Any] | None, *attempts: tuple[str, Any], **given: Any) -> list[str]:
    found: list[str] = tried(cage, *attempts, **given)["outcomes"]
    return found


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody who listens on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def unix_socket(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        yield path


@pytest.mark.parametrize("files", ["own", "host"])
def test_no_connection_is_opened(work: Path, port: int, unix_socket: str, files: str) -> None:
    """No TCP, no UDP, no daemon's socket, in no thread and no program that it starts, and no way around by io_uring;
    with and without the bars on files. What Python's own event loops need remains.
    """
    attempts: tuple[tuple[str, Any], ...] = (
        ("connect", port), ("connect from a thread", port), ("connect from a program", port), ("udp", port),
        ("unix socket", unix_socket),
    )  # fmt: skip
    free = outcomes(None, *attempts, ("pair of sockets", None))
    assert free == ["done"] * 6
    found = outcomes({"write": [str(work)], "files": files}, *attempts, ("io_uring", None), ("pair of sockets", None))
    assert found == ["OSError", "OSError", "CalledProcessError", "OSError", "OSError", "PermissionError", "done"]


def test_the_network_is_a_setting(work: Path, port: int) -> None:
    """Who needs the engine's connections gets them, and only them."""
    found = outcomes({"network": "host", "write": [str(work)]}, ("connect", port), ("list", "/root"))
    assert found == ["done", "PermissionError"]


def test_a_gpus_driver_may_talk_to_its_daemons(tmp_path: Path, work: Path, port: int, unix_socket: str) -> None:
    """Sockets of this machine alone, which MPS and the persistence daemon have; and no others."""
    cage = {"gpu": True, "write": [str(work)]}
    assert outcomes(cage, ("unix socket", unix_socket), ("connect", port), ("udp", port)) == [
        "done", "OSError", "OSError",
    ]  # fmt: skip


def test_credentials_of_others_are_out_of_sight(tmp_path: Path, work: Path) -> None:
    """Neither files that hold them, nor the environment and the memory of the process that started it, nor the bucket,
    which may be a folder: same user or not.
    """
    aws, bucket = tmp_path / "home/.aws", tmp_path / "bucket/results"
    for folder in (aws, bucket):
        folder.mkdir(parents=True)
    (aws / "credentials").write_text(SECRET)
    (bucket / "a.json").write_text("{}")
    attempts: tuple[tuple[str, Any], ...] = (
        ("read", str(aws / "credentials")), ("list", str(aws)), ("write", str(bucket / "a.json")),
        ("read", f"/proc/{os.getpid()}/environ"), ("read", f"/proc/{os.getpid()}/cmdline"),
    )  # fmt: skip
    assert outcomes(None, *attempts) == ["done"] * 5
    found = outcomes({"write": [str(work)]}, *attempts)
    assert found[:4] == ["PermissionError"] * 4
    assert (bucket / "a.json").read_text() == "altered"  # by the first one alone
    (bucket / "a.json").write_text("{}")
    outcomes({"write": [str(work)]}, *attempts)
    assert (bucket / "a.json").read_text() == "{}"


def test_no_more_of_the_system_than_it_needs(work: Path) -> None:
    """Of /etc only what libraries look for, and of a checkout only its own package, although it is run from there."""
    attempts = (("list", "/etc"), ("read", str(ROOT / "pyproject.toml")), ("read", str(ROOT / "pipeline/__init__.py")))
    assert outcomes(None, *attempts) == ["done"] * 3
    assert outcomes({"write": [str(work)]}, *attempts) == ["PermissionError", "PermissionError", "done"]


def test_tcp_is_closed_twice(port: int) -> None:
    """Where a filter of system calls is not to be had, the bar on files keeps TCP closed by itself."""
    code = (
        "import socket, sys; from pipeline.cage import kernel, paths; "
        "version = kernel.call('landlock_create_ruleset', None, 0, 1); "
        "kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1); "
        "paths.enclose([('/', paths.KEEP)], network=sys.argv[2] == 'host'); "
        "print(version, socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))))"
    )
    found = {}
    for network in ("none", "host"):
        command = [sys.executable, "-P", "-c", code, str(port), network]
        done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this kernel allows no Landlock: {done.stderr[-200:]}")
        version, found[network] = map(int, done.stdout.split())
        if version < 4:
            pytest.skip(f"this kernel's Landlock, ABI {version}, knows nothing of TCP")
    assert found == {"none": errno.EACCES, "host": 0}


@pytest.mark.parametrize("files", ["own", "host"])
def test_other_processes_are_left_alone(work: Path, files: str) -> None:
    """It traces nobody; in a cage of files it also sends nobody a signal."""
    attempts = (("trace", os.getpid()), ("signal", os.getpid()))
    found = outcomes({"write": [str(work)], "files": files}, *attempts)
    assert found == ["PermissionError", "PermissionError" if files == "own" else "done"]


@pytest.mark.parametrize("files", ["own", "host"])
def test_what_looks_into_processes_is_closed(work: Path, files: str) -> None:
    """The calls by which one process looks into another one, or takes what that has open, are not there even for a
    process that could do so by its rights.
    """
    attempts = tuple((name, None) for name in ("trace a child", "read a child", "write a child", "take from a child"))
    assert outcomes(None, *attempts) == ["done"] * 4
    assert outcomes({"write": [str(work)], "files": files}, *attempts) == ["PermissionError"] * 4


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is another way to call the kernel of x86_64")
def test_calls_by_other_numbers_are_refused(work: Path) -> None:
    """What is forbidden under one number is not had under another one, whether or not this kernel knows that."""
    assert outcomes({"write": [str(work)]}, ("other abi", None)) == ["PermissionError"]


def test_what_it_works_with_is_there(tmp_path: Path, work: Path) -> None:
    """Its work directory and temporary files, models (also behind links, which lead anywhere), programs, devices; of
    the models nothing is altered, and what it wrote cannot be run.
    """
    models, elsewhere = tmp_path / "models", tmp_path / "disk2/large"
    models.mkdir()
    elsewhere.mkdir(parents=True)
    (elsewhere / "model.bin").write_bytes(b"weights")
    (models / "large").symlink_to(elsewhere)
    script = work / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    cage = {"read": [str(models)], "write": [str(work)]}
    attempts: tuple[tuple[str, Any], ...] = (
        ("write", str(work / "a")), ("read", str(work / "a")), ("read", str(models / "large/model.bin")),
        ("write", "/dev/null"), ("run", "/bin/true"),
        ("write", str(models / "large/model.bin")), ("alter", str(models / "large/model.bin")),
        ("write", str(models / "more")), ("run", str(script)),
    )  # fmt: skip
    assert outcomes(cage, *attempts) == ["done"] * 5 + ["PermissionError"] * 4


def test_the_temporary_files_of_all_are_not_its_own(tmp_path: Path, work: Path) -> None:
    """Others' temporary files are out of sight; its own go into its work directory."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/of-another").write_text(SECRET)
    attempt = ("read", str(tmp_path / "tmp/of-another"))
    env = {"TMPDIR": str(tmp_path / "tmp")}
    assert outcomes(None, attempt, env=env) == ["done"]
    assert outcomes({"write": [str(work)]}, attempt, env=env) == ["PermissionError"]


def test_limits(work: Path) -> None:
    """No core files; open files, processes and memory have an end that cannot be raised again; of all processes the
    kernel ends this one first when the machine's memory is over.
    """
    told = tried({"write": [str(work)]})
    assert told["limits"]["CORE"] == [0, 0]
    assert told["limits"]["DATA"] == [machine_bytes()] * 2
    assert 0 < told["limits"]["NOFILE"][1] <= OPEN_FILES
    assert 0 < told["limits"]["NPROC"][1] <= PROCESSES
    assert int(told["oom"]) >= 500


def test_memory_has_an_end(work: Path) -> None:
    """What asks for more than it may gets an error, and no other process comes to harm."""
    assert outcomes(None, ("memory", 2 * GIB)) == ["done"]
    cage = {"write": [str(work)], "data_bytes": GIB}
    assert outcomes(cage, ("memory", 2 * GIB), ("memory", GIB // 8)) == ["OSError", "done"]


def test_a_gpus_driver_sets_memory_apart(work: Path) -> None:
    """With a GPU there is no limit unless one is asked for: drivers set apart far more than they use."""
    assert tried({"write": [str(work)], "gpu": True})["limits"]["DATA"] == tried(None)["limits"]["DATA"]


def test_no_rights_are_gained_and_roots_are_given_up(work: Path) -> None:
    """No set-uid program helps it; of root's capabilities only those to read and write files are left."""
    told = tried({"write": [str(work)]})
    assert told["no_new_privs"] == "1"
    assert told["capabilities"] & ~0b110 == 0
    assert tried(None)["no_new_privs"] == "0"
