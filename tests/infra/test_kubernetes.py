"""infra/kubernetes/ holds together, and says what the programs, the image and docs/operations.md say."""

from __future__ import annotations

import importlib
import re

import click
import pytest
from cluster import OVERLAYS, Pod, all_pods, cluster, component, image_environment, image_user, size
from docs_rig import rows_under, text_of

from handler.cli import COMMANDS
from handler.cli.work import _GIVE_BACK_SECONDS, _LATE_SECONDS
from handler.settings import Settings, load_settings

PODS = all_pods()
WORKERS = [pod for pod in PODS if pod.works]
JOBS = [pod for pod in PODS if pod.job is not None]
GPU = "nvidia.com/gpu"
AWS_NAMES = re.compile(r"AWS_(REGION|PROFILE|CA_BUNDLE|ENDPOINT_URL(_S3|_SQS)?)")

each_pod = pytest.mark.parametrize("pod", PODS, ids=str)
each_worker = pytest.mark.parametrize("pod", WORKERS, ids=str)
each_job = pytest.mark.parametrize("pod", JOBS, ids=str)
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def test_what_there_is() -> None:
    """The overlays have the pods that they are about: a worker each, and a sweep beside the one that scales to zero."""
    assert {str(pod) for pod in PODS} == {"queue-ScaledJob-worker", "queue-CronJob-sweep", "scan-Deployment-worker"}


# ── what pods are started with ───────────────────────────────────────────────────────────────────────────────────────


def words(pod: Pod) -> list[str]:
    """The container's arguments with their variables filled in, as kubelet does it."""
    variables = cluster(pod.overlay).variables
    assert "command" not in pod.container, "the image's own entry point is the program"

    def value(found: re.Match[str]) -> str:
        return variables[found[1]]

    return [re.sub(r"\$\((\w+)\)", value, word) for word in pod.container["args"]]


@each_pod
def test_the_program_takes_the_arguments(pod: Pod) -> None:
    """Each pod calls a command that there is, with arguments that it takes, on the bucket and queue of the settings."""
    name, *rest = words(pod)
    command: click.Command = importlib.import_module(COMMANDS[name][0]).command
    given = command.make_context(name, rest).params
    variables = cluster(pod.overlay).variables
    assert given["bucket"] == variables["BUCKET"]
    assert given["queue"] == variables.get("QUEUE_URL")
    assert given.get("drain", False) == (pod.owner["kind"] == "ScaledJob")
    assert 'ENTRYPOINT ["dropscribe"]' in text_of("Dockerfile")


@each_overlay
def test_the_settings_are_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable of the pods is a setting that there is, with a value that it can have, or one of AWS's, or is named
    in the arguments; and with the image's own they are settings of a worker that can be.
    """
    variables = cluster(overlay).variables
    ours = {name: value for name, value in variables.items() if name.startswith("DROPSCRIBE_")}
    assert {name.removeprefix("DROPSCRIBE_").lower() for name in ours} <= set(Settings.model_fields)
    named = {
        name
        for pod in cluster(overlay).pods()
        for word in pod.container["args"]
        for name in re.findall(r"\$\((\w+)\)", word)
    }
    assert {name for name in variables.keys() - ours.keys() if not AWS_NAMES.fullmatch(name)} == named
    for name, value in (image_environment() | ours).items():
        if name.startswith("DROPSCRIBE_") and "$" not in value:
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.model != "auto", "a fleet names its model"
    assert settings.log_format == "json"


@each_pod
def test_it_is_stopped_in_order(pod: Pod) -> None:
    """Between SIGTERM and SIGKILL there is all the time that a worker may need to give its job back."""
    needed = load_settings().stop_seconds + _LATE_SECONDS + _GIVE_BACK_SECONDS
    assert pod.spec["terminationGracePeriodSeconds"] > needed


# ── exit codes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def documented() -> dict[int, bool]:
    """By exit code, whether docs/operations.md says that another try may help; without those of success."""
    rows = rows_under(text_of("docs/operations.md"), "## Exit codes")
    return {int(row[0]): row[2].startswith("yes") for row in rows if row[2] != "–"}


@each_job
def test_the_exit_codes_are_obeyed(pod: Pod) -> None:
    """The policy of each job ends it at once on just those codes that the table says no second try mends, counts all
    other codes of the table as tries, and an eviction as none.
    """
    assert pod.job is not None
    disruption, terminal, counted = pod.job["podFailurePolicy"]["rules"]
    assert (disruption["action"], terminal["action"], counted["action"]) == ("Ignore", "FailJob", "Count")
    assert disruption["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    codes = documented()
    assert terminal["onExitCodes"]["values"] == sorted(code for code, again in codes.items() if not again)
    assert counted["onExitCodes"]["values"] == sorted(code for code, again in codes.items() if again)
    for rule in (terminal, counted):
        assert rule["onExitCodes"]["operator"] == "In"
        assert rule["onExitCodes"]["containerName"] == pod.container["name"]
    assert pod.spec["restartPolicy"] == "Never", "the policy sees no container that is started again in its pod"
    assert pod.job["backoffLimit"] >= 1


# ── what refers to something ─────────────────────────────────────────────────────────────────────────────────────────


def mounts(pod: Pod) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}


@each_pod
def test_what_pods_refer_to_is_there(pod: Pod) -> None:
    """Account, settings, volumes and ports that a pod names exist, and no volume is there for nothing."""
    there = cluster(pod.overlay)
    assert pod.spec["serviceAccountName"] in there.names("ServiceAccount")
    [settings, secret] = pod.container["envFrom"]
    assert settings["configMapRef"]["name"] in there.names("ConfigMap")
    assert secret["secretRef"]["optional"] is True
    assert sorted(mounts(pod).values()) == sorted(volume["name"] for volume in pod.spec["volumes"])
    ports = {port["name"] for port in pod.container.get("ports", ())}
    probes = [value for name, value in pod.container.items() if name.endswith("Probe")]
    assert {probe["httpGet"]["port"] for probe in probes} <= ports
    assert re.fullmatch(r".+/dropscribe:\d[\w.-]*", pod.container["image"]), "a name and a version"


def test_what_keda_refers_to_is_there() -> None:
    """The trigger's authentication, container, variable and region are those of the rest."""
    there = cluster("queue")
    [scaled] = there.of("ScaledJob")
    [trigger] = scaled["spec"]["triggers"]
    [pod] = [pod for pod in there.pods() if pod.owner is scaled]
    assert trigger["authenticationRef"]["name"] in there.names("TriggerAuthentication")
    assert scaled["spec"]["envSourceContainerName"] == pod.container["name"]
    assert trigger["metadata"]["queueURLFromEnv"] in there.variables
    assert trigger["metadata"]["awsRegion"] == there.variables["AWS_REGION"]
    assert f".{there.variables['AWS_REGION']}." in there.variables["QUEUE_URL"]


def test_the_selectors_meet_the_workers() -> None:
    """The Deployment selects its own pods; Prometheus' operator finds the workers of each overlay, and only these."""
    [deployment] = cluster("scan").of("Deployment")
    own = deployment["spec"]["selector"]["matchLabels"].items()
    assert own <= deployment["spec"]["template"]["metadata"]["labels"].items()
    [monitor] = component("prometheus-operator")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert {str(pod) for pod in PODS if wanted <= pod.labels.items()} == {str(pod) for pod in WORKERS}
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    for pod in WORKERS:
        assert endpoint["port"] in {port["name"] for port in pod.container["ports"]}
    assert endpoint["path"] == "/metrics"


# ── where they run, and how many ─────────────────────────────────────────────────────────────────────────────────────


@each_pod
def test_who_gets_a_gpu(pod: Pod) -> None:
    """A worker asks for one GPU and goes to the nodes that are kept for those; the sweep does neither."""
    resources = pod.container["resources"]
    given = (resources["requests"].get(GPU), resources["limits"].get(GPU))
    assert given == (("1", "1") if pod.works else (None, None))
    tolerated = [(one["key"], one["operator"], one["effect"]) for one in pod.spec.get("tolerations", ())]
    assert tolerated == ([(GPU, "Exists", "NoSchedule")] if pod.works else [])
    assert pod.container["image"].endswith("-gpu" if pod.works else "-cpu")


def test_scaling_follows_what_waits() -> None:
    """KEDA makes a job for each message that nobody has, down to none and up to a bound; jobs that are not ready yet
    are subtracted, and a change of the manifest ends none that runs.
    """
    [scaled] = cluster("queue").of("ScaledJob")
    spec = scaled["spec"]
    metadata = spec["triggers"][0]["metadata"]
    assert spec["minReplicaCount"] == 0
    assert spec["maxReplicaCount"] >= 1
    assert metadata["queueLength"] == "1"
    # With `accurate`, messages in flight must not be counted: the jobs that have them are not subtracted.
    assert (spec["scalingStrategy"]["strategy"], metadata["scaleOnInFlight"]) == ("accurate", "false")
    assert spec["scalingStrategy"]["pendingPodConditions"] == ["Ready"]
    [pod] = [pod for pod in cluster("queue").pods() if pod.works]
    assert pod.container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert spec["rollout"]["strategy"] == "gradual"
    assert pod.job is not None
    assert (pod.job["parallelism"], pod.job["completions"]) == (1, 1)
    assert "activeDeadlineSeconds" not in pod.job, "a drain may be long"
    kept = pod.template["metadata"]["annotations"]
    assert kept["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert kept["karpenter.sh/do-not-disrupt"] == "true"


def test_the_sweep_is_hourly() -> None:
    """Once an hour, never two at a time, each over before the next is due."""
    [sweep] = cluster("queue").of("CronJob")
    minute, *rest = sweep["spec"]["schedule"].split()
    assert minute.isdigit()
    assert rest == ["*"] * 4
    assert sweep["spec"]["concurrencyPolicy"] == "Forbid"
    assert sweep["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 3600


# ── what they may do ─────────────────────────────────────────────────────────────────────────────────────────────────


@each_pod
def test_it_may_do_little(pod: Pod) -> None:
    """Each pod keeps what Kubernetes calls the restricted standard, writes to no image, and has no token for the
    cluster's API.
    """
    assert pod.spec["automountServiceAccountToken"] is False
    security = pod.spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == image_user()
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    own = pod.container["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod.spec["volumes"])
    [namespace] = cluster(pod.overlay).of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@each_pod
def test_memory_and_disk_are_bounded(pod: Pod) -> None:
    """No pod takes a node's memory or disk with it: each volume has a size, and together they fit what is asked for."""
    resources = pod.container["resources"]
    assert size(resources["limits"]["memory"]) >= size(resources["requests"]["memory"])
    sizes = sum(size(volume["emptyDir"]["sizeLimit"]) for volume in pod.spec["volumes"])
    if pod.works:
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert resources["requests"]["ephemeral-storage"] == resources["limits"]["ephemeral-storage"]
        assert sizes <= size(resources["limits"]["ephemeral-storage"])
        longest = 115e6 * load_settings().max_duration_seconds / 3600
        scratch = size(next(one["emptyDir"]["sizeLimit"] for one in pod.spec["volumes"] if one["name"] == "tmp"))
        assert scratch > load_settings().max_size_bytes + longest


@each_worker
def test_what_it_writes_to_is_mounted(pod: Pod) -> None:
    """With a read-only root, every folder that the image's settings name is on a volume."""
    image = image_environment()
    for name in ("DROPSCRIBE_HOME", "DROPSCRIBE_WORK_DIR", "HOME"):
        value = cluster(pod.overlay).variables.get(name, image[name])
        assert any(f"{value}/".startswith(f"{path}/") for path in mounts(pod)), name


@each_worker
def test_it_is_scraped_and_probed(pod: Pod) -> None:
    """A worker listens where Prometheus and kubelet ask: one port, in settings, container and annotations."""
    variables = cluster(pod.overlay).variables
    port = variables["DROPSCRIBE_HTTP_PORT"]
    assert variables["DROPSCRIBE_HTTP_HOST"] == "0.0.0.0"
    assert [one["containerPort"] for one in pod.container["ports"]] == [int(port)]
    told = pod.template["metadata"]["annotations"]
    assert told["prometheus.io/scrape"] == "true"
    assert (told["prometheus.io/port"], told["prometheus.io/path"]) == (port, "/metrics")
    paths = {name: pod.container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
