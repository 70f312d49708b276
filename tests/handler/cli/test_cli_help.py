"""The front door: help, version, what is imported for it, and how errors look."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_rig import Cli, one_line

from handler.cli import COMMANDS, EPILOG, Commands, main
from handler.cli.runtime import escaped, start_log
from handler.errors import AccessDenied, CannotWrite, HandlerError, NotInTime, Unavailable, UnsafeStore, Usage
from pipeline.errors import MediaError, ModelUnavailable, OptionsError, PipelineError

UGLY = "a\nb\x1b[2Jc\u2028d.wav"
PLAIN = r"a\nb\x1b[2Jc\u2028d.wav"

HEAVY = ("boto3", "botocore", "numpy", "pydantic", "rich", "av", "ctranslate2", "pocketsphinx", "torch", "tenacity")


def imported_by(*args: str) -> set[str]:
    """The top-level modules that ``dropscribe ARGS`` has loaded when it ends."""
    code = "import sys, atexit; atexit.register(lambda: print('\\n' + ' '.join(sys.modules), file=sys.stderr)); "
    code += f"from handler.cli import main; main({list(args)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


def test_help_is_light() -> None:
    """`dropscribe --help` answers at once: it imports none of the heavy packages."""
    assert imported_by("--help").isdisjoint(HEAVY)


def test_a_folder_needs_no_boto3(bucket: Path) -> None:
    """A bucket that is a folder never waits for boto3."""
    assert imported_by("status", str(bucket)).isdisjoint({"boto3", "botocore", "numpy", "av"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_helps_are_the_commands_own(name: str) -> None:
    """What the overview says of a command is the first line of the command's own help."""
    module, short = COMMANDS[name]
    command: click.Command = importlib.import_module(module).command
    assert command.name == name
    assert (command.help or "").splitlines()[0] == short


@pytest.mark.parametrize("name", [*COMMANDS, "cache stats", "cache clear", "dead list", "dead retry"])
def test_every_command_has_help_and_json(cli: Cli, name: str) -> None:
    """Each command explains itself, and each that shows anything can say it in JSON."""
    result = cli(*name.split(), "--help")
    assert result.exit_code == 0
    assert ("--json" in result.stdout) == (name not in ("cache", "dead", "models"))
    assert not result.stderr


def test_version(cli: Cli) -> None:
    """`--version` names the program and its version."""
    result = cli("--version")
    assert result.exit_code == 0
    assert result.stdout.split()[0] == "dropscribe"


def test_called_without_anything_it_shows_the_help(cli: Cli) -> None:
    """A newcomer who types the bare name sees what there is, with examples, and exit code 2."""
    result = cli()
    assert result.exit_code == 2
    assert "Examples:" in result.output
    assert "work " in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HandlerError("it broke"), 1),
        (Usage("that cannot be"), 2),
        (Unavailable("no answer"), 69),
        (CannotWrite("no folder"), 73),
        (NotInTime("not done"), 75),
        (AccessDenied("not allowed"), 77),
        (UnsafeStore("it ignores conditions"), 78),
        (PipelineError("it broke"), 1),
        (MediaError("not a recording"), 1),
        (OptionsError("no such option"), 2),
        (ModelUnavailable("no weights"), 69),
        (PermissionError(13, "Permission denied", "/there"), 77),
        (RuntimeError("two\nlines"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_each_error_is_one_line_and_a_documented_code(cli: Cli, error: BaseException, code: int) -> None:
    """Every error ends in one line and the exit code that the help documents, never in a traceback."""

    class Failing(Commands):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            def fail() -> None:
                raise error

            return click.Command("fail", callback=fail)

    failing = Failing(params=main.params, callback=main.callback)
    result = click.testing.CliRunner().invoke(failing, ["fail"])
    assert result.exit_code == code
    assert f"\n  {code} " in EPILOG
    if isinstance(error, KeyboardInterrupt):
        assert not result.stderr.strip()
    else:
        assert str(error).split()[-1].strip("'") in one_line(result)


@pytest.mark.parametrize("how", ["--debug", "DROPSCRIBE_DEBUG"])
def test_a_traceback_is_there_for_who_asks(cli: Cli, tmp_path: Path, how: str) -> None:
    """--debug and DROPSCRIBE_DEBUG=1 show where an error came from; the exit code stays."""
    if how == "DROPSCRIBE_DEBUG":
        cli.env[how] = "1"
    result = cli("status", tmp_path / "nowhere", *(["--debug"] if how == "--debug" else []))
    assert "Traceback" in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["frobnicate"], "frobnicate"),
        (["status"], "BUCKET"),
        (["status", "nowhere-at-all"], "no folder"),
        (["status", "ftp://host/x"], "ftp"),
        (["run", "missing.mp3"], "missing.mp3"),
        (["work", "s3://"], "names no bucket"),
        (["retry", "."], "--all"),
        (["doctor", "--what"], "--what"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(cli: Cli, args: list[str], told: str) -> None:
    """What cannot be carried out as given: exit code 2, and a line that names what is wrong."""
    result = cli(*args)
    assert result.exit_code == 2
    assert told in one_line(result)


def test_a_wrong_setting_is_told_by_its_name(cli: Cli, bucket: Path) -> None:
    """A setting that cannot be is an error that names the variable, before anything starts."""
    cli.env["DROPSCRIBE_LEASE_SECONDS"] = "soon"
    result = cli("status", bucket)
    assert result.exit_code == 2
    assert "DROPSCRIBE_LEASE_SECONDS" in one_line(result)


def test_a_closed_pipe_is_no_error(bucket: Path) -> None:
    """`dropscribe … | head` ends quietly."""
    for number in range(200):
        (bucket / "input").mkdir(exist_ok=True)
        (bucket / "input" / f"{number:03}.wav").write_bytes(b"x")
    command = [sys.executable, "-m", "handler.cli", "status", str(bucket), "--json"]
    status = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert status.stdout is not None
    status.stdout.close()
    _, stderr = status.communicate(timeout=60)
    assert stderr == b""


def test_json_goes_to_stdout_alone(cli: Cli, bucket: Path) -> None:
    """With --json stdout is one JSON document, whatever the log says beside it."""
    result = cli("-v", "work", bucket, "--drain", "--json")
    assert json.loads(result.stdout)["completed"] == 0
    assert "worker" in result.stderr


def test_control_characters_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a key holds, what is logged of it is one line, and moves no cursor; a traceback keeps its lines."""
    start_log()
    try:
        raise ValueError("it broke")
    except ValueError:
        logging.getLogger("handler.anything").exception("%s: no answer", UGLY)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith(f"{PLAIN}: no answer")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: it broke"


def test_control_characters_in_errors(cli: Cli, bucket: Path) -> None:
    """Nor does an error's line."""
    assert r"c\x1b[2J" in one_line(cli("status", bucket, "c\x1b[2J"))


@pytest.mark.parametrize("text", ["", "talk.wav", "Ünï😀 — ßé.wav", "a b\u00a0c", "back\\slash"])
def test_ordinary_names_stay(text: str) -> None:
    """What is no control character is shown as it is."""
    assert escaped(text) == text
