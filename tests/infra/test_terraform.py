"""infra/terraform/: its own tests by a provider that pretends, its form, and what it says of dropscribe."""

from __future__ import annotations

import re
import subprocess

import pytest

from handler.cli import COMMANDS
from handler.settings import Settings
from tests.docs_rig import ROOT, rows_under, text_of
from tests.infra.terraform_rig import CONFIGURATION, Terraform, program, terraform_in

SOURCES = sorted(CONFIGURATION.glob("**/*.tf"))


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return terraform_in(tmp_path_factory.mktemp("terraform"))


def said(name: str) -> str:
    return (CONFIGURATION / name).read_text(encoding="utf-8")


@pytest.mark.timeout(1200)  # terraform starts its provider afresh for each step
def test_its_own_tests_pass(terraform: Terraform) -> None:
    """`terraform test`: every assertion of tests/*.tftest.hcl holds, and every mistake there is refused."""
    done = terraform.run("test", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! (\d+) passed, 0 failed", done.stdout), done.stdout


def test_it_is_valid(terraform: Terraform) -> None:
    """`terraform validate`: every resource has the arguments that the provider knows."""
    terraform.run("validate")


def test_it_is_formatted() -> None:
    """`terraform fmt` would change nothing."""
    done = subprocess.run(
        [program(), f"-chdir={CONFIGURATION}", "fmt", "-check", "-recursive", "-no-color"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_settings_that_exist_are_set() -> None:
    """Every DROPSCRIBE_ variable that a file names is a setting."""
    known = {f"DROPSCRIBE_{name.upper()}" for name in Settings.model_fields}
    for path in SOURCES:
        named = {name.rstrip("_") for name in re.findall(r"DROPSCRIBE_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))}
        assert named <= known, path


def test_containers_are_begun_with_commands_that_exist() -> None:
    """A container's command is one of dropscribe's, which the image's entry point is."""
    assert 'ENTRYPOINT ["dropscribe"]' in text_of("Dockerfile")
    for file, name in (("workers.tf", "work"), ("sweep.tf", "sweep")):
        assert re.findall(r'^\s*command\s*= \["(\w+)"', said(file), re.MULTILINE) == [name]
        assert name in COMMANDS


def test_the_image_has_the_targets_that_are_built() -> None:
    """What the outputs say to build are targets of the Dockerfile."""
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", text_of("Dockerfile"), re.MULTILINE))
    built = re.findall(r"docker build --target (\w+)", said("outputs.tf"))
    assert built == ["gpu", "cpu"]
    assert set(built) <= targets


def test_what_cannot_be_mended_is_not_tried_again() -> None:
    """Batch gives up on the exit codes that docs/operations.md says no to, and tries all others again."""
    given_up = re.search(r"for_each = \[([^\]]*)\]\n\s*content \{\n\s*action\s*= \"EXIT\"", said("workers.tf"))
    assert given_up is not None
    codes = {int(code) for code in re.findall(r"\d+", given_up[1])}
    no = {int(row[0]) for row in rows_under(text_of("docs/operations.md"), "## Exit codes") if row[2].startswith("no")}
    assert codes == no - {73}  # which `work` never ends with, and Batch takes five rules
    assert len(codes) + 1 <= 5


def test_visibility_is_the_lease() -> None:
    """A message is hidden for as long as a lease lasts, and the queue's test of poison is what the manual says."""
    assert re.search(rf"visibility_timeout_seconds = {Settings().lease_seconds:.0f}\b", said("queue.tf"))
    assert "maxReceiveCount     = 1000" in said("queue.tf")


def test_what_is_left_of_a_trial_is_not_committed() -> None:
    """State has secrets in it, and providers are large: git ignores both."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".terraform/", "*.tfstate", "*.tfstate.*"} <= set(ignored)
    assert not list(CONFIGURATION.rglob("*.tfstate*"))
