"""Terraform on a copy of infra/terraform/, with its provider out of a mirror on this machine or else from where it is
published.

Takes a folder to work in; gives terraform's commands. Skips, saying what is missing, where there is no terraform or its
provider cannot be had. Knows nothing of what the configuration means.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs_rig import ROOT

CONFIGURATION = ROOT / "infra" / "terraform"
_REGISTRY = "registry.terraform.io"  # what the folder in a mirror is called


@cache
def mirror() -> Path | None:
    """The folder of a file system mirror of providers: looked for, near the root of the file system."""
    seek = ["find", "/", "-maxdepth", "4", "-path", "/proc", "-prune", "-o", "-type", "d", "-name", _REGISTRY, "-print"]
    found = subprocess.run(seek, capture_output=True, text=True, check=False).stdout.split("\n")
    return Path(found[0]).parent if found[0] else None


def program() -> str:
    """Terraform's path. Skips without one."""
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("terraform is not installed: install it from developer.hashicorp.com/terraform/install")
    return found


@dataclass(frozen=True, slots=True)
class Terraform:
    """``folder``: where the copy lies."""

    path: str
    folder: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command, which must succeed if ``check``."""
        command = [self.path, arguments[0], "-no-color", *arguments[1:]]
        done = subprocess.run(
            command, cwd=self.folder, env=dict(self.environment), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def outputs(self) -> dict[str, Any]:
        """The outputs' values by name."""
        return {name: one["value"] for name, one in json.loads(self.run("output", "-json").stdout).items()}


def terraform_in(folder: Path) -> Terraform:
    """A copy of the configuration in ``folder``, initialised. Skips where the provider cannot be had."""
    terraform = Terraform(program(), folder / "terraform", _environment(folder))
    shutil.copytree(CONFIGURATION, terraform.folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    begun = terraform.run("init", "-backend=false", check=False)
    if begun.returncode and mirror() is None:
        pytest.skip(f"terraform's provider is not on this machine and cannot be fetched: {begun.stderr[-500:]}")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    return terraform


def _environment(folder: Path) -> dict[str, str]:
    """This process's, without what is meant for terraform or AWS elsewhere, and with the mirror if there is one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))}
    settings = folder / "terraform.rc"
    providers = mirror()
    settings.write_text(
        "" if providers is None else f'provider_installation {{ filesystem_mirror {{ path = "{providers}" }} }}\n'
    )
    return {
        **kept,
        "TF_CLI_CONFIG_FILE": str(settings),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
