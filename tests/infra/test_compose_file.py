"""infra/compose/compose.yaml, read: the schema, and what must hold whatever is added to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from compose_rig import FOLDER, chosen, filled, load, variables
from docs_rig import text_of
from infra_tools import ROOT, output, tool

from handler.settings import Settings

FILE = FOLDER / "compose.yaml"
GIVEN = {"S3_PASSWORD": "a-password", "EVENTS_TOKEN": "a-token"}
SETUPS = [(server, worker) for server in ("minio", "rustfs") for worker in ("cpu", "gpu", "queue-cpu", "queue-gpu")]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return load(GIVEN)


def test_schema() -> None:
    """The file is a Compose file by Compose's own schema."""
    check = tool("check-jsonschema", "pip install check-jsonschema")
    code, said = output(check, "--builtin-schema", "vendor.compose-spec", FILE)
    assert code == 0, said


def test_ports_are_this_machines(services: dict[str, Any]) -> None:
    """Every port that is published is on 127.0.0.1, so that nobody else on the network can reach it."""
    ports = [port for one in services.values() for port in one.get("ports", [])]
    assert ports
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


def test_images_are_pinned(services: dict[str, Any]) -> None:
    """Whatever is not built here has an exact version."""
    foreign = [one["image"] for one in services.values() if "build" not in one]
    assert foreign
    for image in foreign:
        assert re.search(r":[\w.-]*\d+\.\d+\.\d+|:RELEASE\.\d{4}-", image), image
        assert not image.endswith(":latest")


@pytest.mark.parametrize(("server", "worker"), SETUPS)
def test_every_choice_of_profiles_holds_together(services: dict[str, Any], server: str, worker: str) -> None:
    """One server and one kind of worker: whatever a service waits for runs, and will come to be as it is waited for;
    a worker waits for the bucket, and the bucket for the server.
    """
    there = chosen(services, [server, worker])
    for name, one in there.items():
        for other, wait in one.get("depends_on", {}).items():
            assert other in there or wait.get("required") is False, f"{name} waits for {other}, which does not run"
            if wait["condition"] == "service_healthy":
                assert services[other].get("healthcheck", {}).get("test"), f"{other} never becomes healthy"
            if wait["condition"] == "service_completed_successfully":
                assert services[other].get("restart") is None, f"{other} would never be completed"
    (mine,) = [one for name, one in there.items() if name.startswith("worker")]
    (prepared,) = [name for name in mine["depends_on"] if name in there and name.startswith("set-up")]
    assert mine["depends_on"][prepared]["condition"] == "service_completed_successfully"
    assert there[prepared]["depends_on"] == {server: {"condition": "service_healthy"}}


@pytest.mark.parametrize(("server", "worker"), SETUPS)
def test_every_address_is_somebodys(services: dict[str, Any], server: str, worker: str) -> None:
    """A name in an address is that of a service that runs, or its alias; of RustFS nobody expects posts."""
    there = chosen(services, [server, worker])
    names = set(there)
    for one in there.values():
        networks = one.get("networks", {})
        names |= set(networks.get("default", {}).get("aliases", []))
    texts = [str(value) for one in there.values() for value in one.get("environment", {}).values()]
    hosts = {found for text in texts for found in re.findall(r"http://([\w-]+):\d+", text)}
    assert hosts <= names


@pytest.mark.parametrize(("cpu", "gpu"), [("worker-cpu", "worker-gpu"), ("worker-queue-cpu", "worker-queue-gpu")])
def test_a_gpu_is_the_only_difference(services: dict[str, Any], cpu: str, gpu: str) -> None:
    """The profiles for GPUs are those for CPUs with another image and a device."""
    differing = {"image", "build", "deploy", "profiles"}
    assert {name: value for name, value in services[cpu].items() if name not in differing} == {
        name: value for name, value in services[gpu].items() if name not in differing
    }
    assert services[gpu]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert (services[cpu]["build"]["target"], services[gpu]["build"]["target"]) == ("cpu", "gpu")


def test_workers_are_confined(services: dict[str, Any]) -> None:
    """What runs our image can write to its scratch disk and the models only, has no capability and can gain none, and a
    worker has longer to end than it needs.
    """
    for name, one in services.items():
        if "build" not in one:
            continue
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        if name.startswith("worker"):
            targets = {v["target"] if isinstance(v, dict) else v.split(":")[1] for v in one["volumes"]}
            assert targets == {"/tmp", "/var/lib/dropscribe"}
            assert int(one["stop_grace_period"].removesuffix("s")) >= Settings().stop_seconds + 5


def test_settings_are_settings(services: dict[str, Any]) -> None:
    """Each DROPSCRIBE_ variable is one that a worker knows, with a value that it takes."""
    for name, one in services.items():
        said = {key: value for key, value in one.get("environment", {}).items() if key.startswith("DROPSCRIBE_")}
        if name.startswith("worker"):
            assert said
            Settings(**{key.removeprefix("DROPSCRIBE_").lower(): value for key, value in said.items()})


def test_no_secret_has_a_default() -> None:
    """Passwords and tokens must be given: without one, Compose says so and starts nothing."""
    raw = yaml.safe_load(FILE.read_text("utf-8"))["services"]
    for secret in GIVEN:
        with pytest.raises(KeyError, match=f"set {secret} in .env"):
            filled(raw, {name: value for name, value in GIVEN.items() if name != secret})


def test_volumes_are_declared(services: dict[str, Any]) -> None:
    """Each named volume is declared and each file that is mounted lies in the folder."""
    declared = set(yaml.safe_load(FILE.read_text("utf-8"))["volumes"])
    mounted = [v.split(":")[0] for one in services.values() for v in one.get("volumes", []) if isinstance(v, str)]
    assert {name for name in mounted if not name.startswith("./")} == declared
    for path in {name for name in mounted if name.startswith("./")}:
        assert (FOLDER / path).is_file(), path


def test_every_variable_is_documented() -> None:
    """docs/operations.md names each variable of the .env, and what it says of one is of one that there is."""
    used = variables(FILE.read_text("utf-8"))
    section = text_of("docs/operations.md").partition("### Compose\n")[2].partition("\n### ")[0]
    told = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", section, re.MULTILINE))
    assert told == used | {"COMPOSE_PROFILES"}
    assert (ROOT / ".gitignore").read_text("utf-8").splitlines().count("/infra/compose/.env") == 1
