"""What a newcomer reads is so: the tree is complete, the examples run, commands and links exist."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from docs_rig import DOCUMENTS, ROOT, block, blocks, text_of

from handler.cli import COMMANDS, main
from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from handler.settings import load_settings
from handler.store.folder import FolderStore
from handler.worker import Worker
from pipeline.formats.captions import render

FOLDERS = ("handler", "pipeline", "bench", "docs", "examples", "infra")  # file by file; tests by folder
LINK = re.compile(r"\]\(([^)\s]+)\)")


def drawn() -> dict[str, str]:
    """Path to description, out of the tree; folders end in a slash."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in block("README.md", "text tree").splitlines():
        name, _, words = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        above = above[:depth]
        found["".join(above) + name] = words.strip()
        if name.endswith("/"):
            above.append(name)
    return found


def is_listed(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)
    return not hidden and path.suffix != ".pyc"


def there() -> set[str]:
    """What the tree should show. A package's `__init__.py` is its folder's line; a decision has its own table."""
    found = set()
    for folder in FOLDERS:
        for path in [ROOT / folder, *(ROOT / folder).rglob("*")]:
            name = path.relative_to(ROOT).as_posix()
            if not is_listed(path) or path.name == "__init__.py" or name.startswith("docs/decisions/"):
                continue
            found.add(name + "/" * path.is_dir())
    tests = [ROOT / "tests", *(ROOT / "tests").rglob("*")]
    return found | {path.relative_to(ROOT).as_posix() + "/" for path in tests if path.is_dir() and is_listed(path)}


def test_the_tree_is_what_is_there() -> None:
    """The README's tree names exactly the files that exist, each with a line."""
    assert set(drawn()) == there()
    assert all(drawn().values()), "a line without a description"


def test_decisions_are_indexed() -> None:
    """Each decision has its row in the index, under its own title."""
    index = text_of("docs/decisions/README.md")
    pages = sorted(path for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "README.md")
    assert pages
    for page in pages:
        number, _, title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(": ")
        assert f"| [{number}]({page.name}) | {title} |" in index
        assert page.name.startswith(f"{number}-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """A link to a file of the project leads to one that is there."""
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            assert (document.parent / target.partition("#")[0]).exists(), target


def commands() -> list[tuple[str, list[str]]]:
    """(document, words) of every call of the program in a shell block."""
    found = []
    for document in ("README.md", "docs/operations.md"):
        for info, body in blocks(document):
            for line in body.splitlines() if info == "sh" else ():
                line = line.replace("./run dropscribe", "dropscribe")
                if line.startswith("dropscribe "):  # other programs' lines may go on in the next
                    found.append((document, shlex.split(line, comments=True)[1:]))
    return found


def test_commands_exist() -> None:
    """Every command in the documents' shell blocks exists, and so does each of its options."""
    assert len(commands()) > 10
    for document, words in commands():
        command: Any = importlib.import_module(COMMANDS[words[0]][0]).command
        rest = words[1:]
        if isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= known, f"{document}: {' '.join(words)}"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder in which ``bucket/results/jfk.flac.json`` is a real worker's result."""
    store = FolderStore(tmp_path / "bucket", SystemClock(), settle_seconds=0.0)
    store.put("input/jfk.flac", b"somebody talks")
    settings = load_settings(work_dir=tmp_path / "work", home=tmp_path / "no-models", model="sphinx")
    worker = Worker(store, settings, SystemClock(), ScriptedEngine(), name="readme", stop=threading.Event())
    assert worker.run(drain=True).completed == 1
    return tmp_path


def test_the_result_is_read_as_shown(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's code for Deepgram's SDK runs on a worker's result and prints what was said."""
    monkeypatch.chdir(results)
    exec(compile(block("README.md", "python reading"), "README.md", "exec"), {})
    result = json.loads((results / "bucket/results/jfk.flac.json").read_text(encoding="utf-8"))["results"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == result["channels"][0]["alternatives"][0]["transcript"]
    assert len(printed) == 1 + len(result["utterances"])
    assert result["utterances"][0]["transcript"] in printed[1]


def test_the_extract_is_of_a_result(results: Path) -> None:
    """Whatever the README shows of a result is there in a real one, in the same place."""
    real = json.loads((results / "bucket/results/jfk.flac.json").read_text(encoding="utf-8"))
    assert_part(json.loads(block("README.md", "json extract")), real, "the extract")


def assert_part(shown: Any, real: Any, where: str) -> None:
    """The same types all the way down; what is shown may lack keys, never have others. A model's id is any."""
    assert type(shown) is type(real), where
    if isinstance(shown, list):
        assert_part(shown[0], real[0], f"{where}[0]")
    elif isinstance(shown, dict):
        for name, part in shown.items():
            twin = next(iter(real)) if where.endswith(".model_info") else name
            assert twin in real, f"{where} has no {twin}"
            assert_part(part, real[twin], f"{where}.{name}")


def test_jq_reads_it_as_shown(results: Path) -> None:
    """The README's lines for jq run on a worker's result: the first prints what was said, the second when."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed: the README's lines for it were not run")
    said = json.loads((results / "bucket/results/jfk.flac.json").read_text(encoding="utf-8"))["results"]
    lines = block("README.md", "sh jq").splitlines()
    printed = [
        subprocess.run(["sh", "-c", line], cwd=results, capture_output=True, text=True, check=True).stdout.splitlines()
        for line in lines
    ]
    assert printed[0] == [channel["alternatives"][0]["transcript"] for channel in said["channels"]]
    assert [line.partition(" ")[2] for line in printed[1]] == [one["transcript"] for one in said["utterances"]]
    assert len(printed) == len(lines) == 3


def test_captions_are_made_as_shown(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's lines for captions run on a worker's result, and give the captions of it."""
    monkeypatch.chdir(results)
    (results / "names.json").write_text('{"0": "Alice", "1": "Bob"}', encoding="utf-8")
    printed = []
    for line in block("README.md", "sh captions").splitlines():
        found = CliRunner().invoke(main, shlex.split(line)[1:])
        assert found.exit_code == 0, found.stderr
        printed.append(found.stdout)
    result = json.loads((results / "bucket/results/jfk.flac.json").read_text(encoding="utf-8"))
    assert printed[0] == render(result, "srt")
    assert (results / "jfk.vtt").read_text(encoding="utf-8") == render(result, "vtt")
    assert printed[2].startswith("[00:00] ")
    assert 'names.json` is `{"0": "Alice", "1": "Bob"}`' in text_of("README.md")
