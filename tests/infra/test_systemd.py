"""infra/systemd/: systemd's own judgement of the unit and the user, and what must hold between them and the worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from infra_tools import ROOT, output, tool

from handler.errors import EXIT_NO_PERMISSION, EXIT_UNSAFE, EXIT_USAGE
from handler.settings import Settings

FOLDER = ROOT / "infra" / "systemd"
UNIT = FOLDER / "dropscribe.service"
ENVIRONMENT = FOLDER / "dropscribe.env"


def values(name: str) -> list[str]:
    """What the unit says for a name, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def assignments(text: str) -> dict[str, str]:
    lines = [line.lstrip("#") for line in text.splitlines() if re.match(r"#?[A-Z_]+=", line)]
    return dict(line.partition("=")[::2] for line in lines)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say: no unknown name, no value that cannot be, no command that is not
    there where it was installed.
    """
    analyze = tool("systemd-analyze", "it comes with systemd")
    (command,) = values("ExecStart")
    program = tmp_path / "dropscribe"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text("utf-8").replace(command.split()[0], str(program)))
    code, said = output(analyze, "verify", "--man=no", installed)
    assert (code, said) == (0, "")


def test_the_unit_stays_confined(tmp_path: Path) -> None:
    """systemd's count of what the unit leaves open stays below 3 of 10."""
    analyze = tool("systemd-analyze", "it comes with systemd")
    code, said = output(analyze, "security", "--offline=true", "--threshold=30", UNIT)
    if "unrecognized option" in said:
        pytest.skip("this systemd cannot judge a unit that is not loaded")
    assert code == 0, said


def test_the_user(tmp_path: Path) -> None:
    """systemd-sysusers would make the unit's user and group, without a shell."""
    sysusers = tool("systemd-sysusers", "it comes with systemd")
    code, said = output(sysusers, "--dry-run", f"--root={tmp_path}", FOLDER / "dropscribe.sysusers")
    assert code == 0, said
    (user,), (group,) = values("User"), values("Group")
    assert f"Creating user '{user}'" in said
    assert f"Creating group '{group}'" in said
    assert "nologin" in (FOLDER / "dropscribe.sysusers").read_text("utf-8")


def test_time_to_stop() -> None:
    """systemd waits longer than a worker needs to give its job back (25 s), and its signal reaches the worker alone."""
    assert int(values("TimeoutStopSec")[0]) >= Settings().stop_seconds + 5
    assert values("KillMode") == ["mixed"]


def test_no_start_after_what_no_start_helps() -> None:
    """Wrong settings, missing permissions and unfit stores are not tried again; a model that is away (69) is."""
    final = set(map(int, values("RestartPreventExitStatus")[0].split()))
    assert final == {EXIT_USAGE, EXIT_NO_PERMISSION, EXIT_UNSAFE}


def test_the_environment_file_is_what_the_unit_wants() -> None:
    """What the command takes from the environment stands in the example, and its settings are settings."""
    given = assignments(ENVIRONMENT.read_text("utf-8"))
    for name in re.findall(r"\$\{(\w+)\}", values("ExecStart")[0]):
        assert given[name]
    units = dict(one.partition("=")[::2] for one in values("Environment"))
    for name, value in {**given, **units}.items():
        if name.startswith("DROPSCRIBE_"):
            Settings(**{name.removeprefix("DROPSCRIBE_").lower(): value})


def test_what_is_written_is_where_it_may_be(tmp_path: Path) -> None:
    """The folders that the worker writes to are those that the unit makes for it; all else is read-only."""
    units = dict(one.partition("=")[::2] for one in values("Environment"))
    assert units["DROPSCRIBE_HOME"].startswith(f"/var/lib/{values('StateDirectory')[0]}/")
    assert units["DROPSCRIBE_WORK_DIR"] == f"/var/cache/{values('CacheDirectory')[0]}"
    assert values("ProtectSystem") == ["strict"]


def test_the_command_runs_with_that_environment(tmp_path: Path) -> None:
    """The unit's own command line, with its environment and a folder as its bucket, is a worker."""
    from compose_rig import DROPSCRIBE

    bucket = tmp_path / "bucket"
    (bucket / "input").mkdir(parents=True)
    (bucket / "input" / "a.wav").write_bytes(b"somebody talks")
    given = {**assignments(ENVIRONMENT.read_text("utf-8")), "BUCKET": str(bucket), "DROPSCRIBE_HTTP_PORT": "0"}
    given |= {"DROPSCRIBE_HOME": str(tmp_path / "home"), "DROPSCRIBE_WORK_DIR": str(tmp_path / "work")}
    given |= {"DROPSCRIBE_SETTLE_SECONDS": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    _, *words = values("ExecStart")[0].split()
    command = [re.sub(r"\$\{(\w+)\}", lambda m: given[m[1]], word) for word in words]
    path = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", DROPSCRIBE, *command, "--drain"],
        env={**path, **given},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (bucket / "results" / "a.wav.json").exists()
