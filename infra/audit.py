"""What a worker is made of, and what is known against it: ``./run audit [--sbom FILE]``.

Writes an SBOM (CycloneDX, JSON) of the Python that runs this, checks it against pyproject.toml, and asks the database
of advisories about every package in it. Where that does not answer, nothing was audited: it says so, and the exit code
is neither that of a clean audit nor that of findings. Knows nothing of images and of what is not Python.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXIT_FOUND = 1
EXIT_NOT_AUDITED = 75  # EX_TEMPFAIL of sysexits.h
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
Json = dict[str, Any]


def run_tool(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def make_sbom(out: Path, pyproject: Path = PYPROJECT, run: Run = run_tool) -> Json:
    """The SBOM of this Python's packages, which is in ``out`` afterwards. RuntimeError that says why there is none."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "--pyproject", str(pyproject)]
    # The tool's look at its own output takes twenty times as long as the rest.
    done = run([*command, "--output-reproducible", "--no-validate", "--of", "JSON", "-o", str(out)])
    if done.returncode:
        raise RuntimeError(f"no SBOM was made: {_last(done.stderr)}")
    found: Json = json.loads(out.read_bytes())
    return found


def gaps(sbom: Json, project: Json) -> list[str]:
    """Where the SBOM is not that of the project, a sentence each: its name and version, and every dependency in a
    version that is allowed.
    """
    root = sbom["metadata"]["component"]
    found = []
    if (root["name"], root.get("version")) != (project["name"], project["version"]):
        found.append(f"the SBOM is of {root['name']} {root.get('version')}")
    versions = {canonicalize_name(one["name"]): one["version"] for one in sbom["components"]}
    for line in project["dependencies"]:
        wanted = Requirement(line)
        version = versions.get(canonicalize_name(wanted.name))
        if version is None:
            found.append(f"{wanted.name} is not in the SBOM")
        elif not wanted.specifier.contains(version, prereleases=True):
            found.append(f"{wanted.name} {version} is not {wanted.specifier}")
    return found


def advisories(site: Path, own: str, run: Run = run_tool) -> tuple[list[str], list[str]] | None:
    """What is known against the packages in that folder, a line each; and those that nobody knows, which says nothing
    for them: an index that is a mirror has no advisories. ``own`` is the project, which lies there too. None where
    nobody could be asked.
    """
    command = [sys.executable, "-m", "pip_audit", "--path", str(site), "--format", "json", "--progress-spinner", "off"]
    done = run(command)
    try:
        told: Json = json.loads(done.stdout)
        packages = [one for one in told["dependencies"] if canonicalize_name(one["name"]) != own]
        found = [_line(one, known) for one in packages for known in one.get("vulns", ())]
        return found, [one["name"] for one in packages if "skip_reason" in one]
    except (ValueError, KeyError, TypeError):
        print(f"audit: {_last(done.stderr)}", file=sys.stderr)
        return None


def _line(package: Json, known: Json) -> str:
    fixed = ", ".join(known.get("fix_versions", ())) or "no version"
    return f"{package['name']} {package['version']}: {known['id']}, mended in {fixed}"


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def main(arguments: Sequence[str] | None = None, run: Run = run_tool) -> int:
    """The exit code: 0, `EXIT_FOUND`, or `EXIT_NOT_AUDITED`."""
    parser = argparse.ArgumentParser(prog="./run audit", description="An SBOM, and what is known against it.")
    parser.add_argument("--sbom", type=Path, default=Path("sbom.json"), help="where the SBOM is written (sbom.json)")
    given = parser.parse_args(arguments)
    try:
        sbom = make_sbom(given.sbom, run=run)
    except RuntimeError as error:
        print(f"audit: {error}", file=sys.stderr)
        return EXIT_FOUND
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    missing = gaps(sbom, project)
    print(f"{given.sbom} lists {len(sbom['components'])} packages.")
    answer = advisories(Path(sysconfig.get_path("purelib")), project["name"], run)
    found, unknown = answer or ([], [])
    for line in (*missing, *found):
        print(line)
    if answer is None:
        print("NOT AUDITED: the database of advisories could not be asked (no network?).")
    if unknown:
        print(f"NOT AUDITED, as nobody knows them: {', '.join(unknown)}")
    if missing or found:
        return EXIT_FOUND
    if answer is None or unknown:
        return EXIT_NOT_AUDITED
    print("Nothing is known against any of them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
