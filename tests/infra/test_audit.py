"""The SBOM is that of the project, and an audit that could not be made does not pass for a clean one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from infra.audit import EXIT_FOUND, EXIT_NOT_AUDITED, PYPROJECT, Run, advisories, gaps, main, make_sbom

PROJECT = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
CLEAN = {
    "dependencies": [{"name": "av", "version": "18.1.0", "vulns": []}, {"name": "dropscribe", "skip_reason": "own"}]
}
SKIPPED = {"dependencies": [{"name": "av", "skip_reason": "Dependency not found"}, {"name": "rich", "vulns": []}]}
FOUND = {
    "dependencies": [
        {"name": "av", "version": "18.1.0", "vulns": [{"id": "CVE-0000-0001", "fix_versions": ["18.2"]}]},
        {"name": "rich", "version": "14", "vulns": []},
    ]
}


def sbom_of(**changed: Any) -> dict[str, Any]:
    """An SBOM with all that the project needs, as it is here, but for what is changed; None leaves one out."""
    names = [Requirement(line).name for line in PROJECT["dependencies"]]
    versions: dict[str, str | None] = {name: metadata.version(name) for name in names}
    root = {"name": PROJECT["name"], "version": changed.pop("version", PROJECT["version"])}
    versions |= {name.replace("_", "-"): version for name, version in changed.items()}
    components = [{"name": name, "version": version} for name, version in versions.items() if version is not None]
    return {"metadata": {"component": root}, "components": components}


def tools(audited: object, code: int = 0, sbom: dict[str, Any] | None = None) -> Run:
    """Stand-ins for both tools: one writes ``sbom``, the other says ``audited``, or only complains where it is None."""

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if "cyclonedx_py" in command:
            Path(command[command.index("-o") + 1]).write_text(json.dumps(sbom or sbom_of()))
            return subprocess.CompletedProcess(command, 0, "", "")
        said = "" if audited is None else json.dumps(audited)
        return subprocess.CompletedProcess(command, code, said, "ERROR: no route to host\n")

    return run


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"boto3": None}, ["boto3 is not in the SBOM"]),
        ({"av": "17.0"}, ["av 17.0 is not >=18"]),
        ({"version": "9.9"}, ["the SBOM is of dropscribe 9.9"]),
    ],
)
def test_the_sbom_is_the_projects(changed: dict[str, Any], told: list[str]) -> None:
    """A dependency that is missing, in a version that is not allowed, or another project's SBOM is told."""
    assert gaps(sbom_of(**changed), PROJECT) == told


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        (tools(CLEAN), 0, "Nothing is known"),
        (tools(FOUND, 1), EXIT_FOUND, "av 18.1.0: CVE-0000-0001, mended in 18.2"),
        (tools(None, 1), EXIT_NOT_AUDITED, "NOT AUDITED"),
        (tools(SKIPPED), EXIT_NOT_AUDITED, "NOT AUDITED, as nobody knows them: av"),
        (tools(CLEAN, sbom=sbom_of(rich=None)), EXIT_FOUND, "rich is not in the SBOM"),
        (tools(None, 1, sbom=sbom_of(rich=None)), EXIT_FOUND, "rich is not in the SBOM"),
    ],
    ids=["clean", "found", "offline", "unknown", "a gap", "a gap, offline"],
)
def test_the_exit_code_tells_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Run, code: int, said: str
) -> None:
    """Clean, findings, and nobody to ask are three different ends; nobody to ask is never called clean."""
    assert main(["--sbom", str(tmp_path / "sbom.json")], run) == code
    told = capsys.readouterr().out
    assert said in told
    assert ("Nothing is known" in told) == (code == 0)


def test_a_real_sbom(tmp_path: Path) -> None:
    """Of the packages that these tests run with, by the real tool."""
    if importlib.util.find_spec("cyclonedx_py") is None:
        pytest.skip("cyclonedx-bom is not installed: ./run test brings it")
    assert gaps(make_sbom(tmp_path / "sbom.json"), PROJECT) == []


def test_a_real_audit_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real tool that reaches nobody is no clean audit."""
    if importlib.util.find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed: ./run test brings it")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    about = tmp_path / "boto3-1.44.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: boto3\nVersion: 1.44.5\n")
    answer = advisories(tmp_path, "dropscribe")
    assert answer is None or answer == ([], ["boto3"])


def test_what_the_real_tool_writes_is_read() -> None:
    """pip-audit's own JSON, of a finding, of what is clean and of what it does not know: each is told as what it is."""
    audit = pytest.importorskip("pip_audit._format", reason="pip-audit is not installed: ./run test brings it")
    from packaging.version import Version
    from pip_audit._service import ResolvedDependency, SkippedDependency, VulnerabilityResult

    hole = VulnerabilityResult.create(["CVE-0000-0001", "GHSA-0"], "a hole", [Version("18.2"), Version("19.0.1")], None)
    unmended = VulnerabilityResult.create(["PYSEC-0000-2"], "another", [], None)
    told = audit.JsonFormat(output_desc=False, output_aliases=False).format(
        {
            ResolvedDependency("av", Version("18.1.0")): [hole, unmended],
            ResolvedDependency("rich", Version("14")): [],
            SkippedDependency("torch", "Dependency not found on PyPI and could not be audited: torch (2.13.0)"): [],
            SkippedDependency("dropscribe", "distribution marked as editable"): [],
        },
        [],
    )
    assert advisories(Path(), "dropscribe", lambda command: subprocess.CompletedProcess(command, 1, told, "")) == (
        ["av 18.1.0: CVE-0000-0001, mended in 18.2, 19.0.1", "av 18.1.0: PYSEC-0000-2, mended in no version"],
        ["torch"],
    )
