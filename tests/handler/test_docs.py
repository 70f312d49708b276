"""docs/: what they say is what the code does. Examples go through the code's own models, tables are compared."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

import pytest
from deepgram_contract import check_result
from docs_rig import block, functions_in, named_tests, rows_under, text_of

import handler.errors
from handler.batches.lines import MAX_BYTES, MAX_GLOBS, MAX_MEMBERS, TOLD, read_lines
from handler.batches.plan import Plan
from handler.batches.watcher import WINDOW
from handler.cache import Reference
from handler.callbacks.records import Delivered, Delivery
from handler.cli import EPILOG
from handler.cli.doctor import BUCKET, MACHINE, QUEUE
from handler.cli.failure import INTERRUPTED
from handler.cli.settings_table import put_into
from handler.job import EXPIRY_SLACK, MAX_SUBSCRIBERS
from handler.layout import NAMESPACE, Layout, digest_of, job_id_of
from handler.lease import KEPT_FAILURES
from handler.metrics import CATALOGUE
from handler.settings import Settings, load_settings
from handler.stats import Snapshot
from handler.store.base import Info
from handler.store.swap import ATTEMPTS, CAP_SECONDS
from handler.sweep import GRACE_SECONDS
from handler.types import BatchManifest, BatchResult, JobRecord, Manifest, SettledMarker
from handler.worker.intake import SourceRecord
from handler.worker.retention import SweepRecord
from pipeline.catalog import Model
from pipeline.errors import ErrorDetail
from pipeline.formats.captions.names import read_names
from pipeline.formats.deepgram import error_part
from pipeline.options import Options, parse
from pipeline.plan import CODE_VERSIONS, job_digest, stage_plans
from pipeline.types import Frozen

FORMAT = "docs/format.md"
MODELS: dict[str, type[Frozen]] = {
    "manifest": Manifest,
    "source": SourceRecord,
    "job": JobRecord,
    "stage": Reference,
    "settled": SettledMarker,
    "stats": Snapshot,
    "pending": Delivery,
    "delivered": Delivered,
    "batch_manifest": BatchManifest,
    "batch_result": BatchResult,
    "plan": Plan,
    "sweep": SweepRecord,
}


def example(name: str) -> Any:
    return json.loads(block(FORMAT, f"json {name}"))


# ── the format: examples ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MODELS)
def test_examples_are_what_the_code_reads(name: str) -> None:
    """Each example is read by the code's own model, shows every field there is, and is what the code would write."""
    found = example(name)
    model = MODELS[name].model_validate_json(json.dumps(found))
    assert set(found) == set(MODELS[name].model_fields)
    assert model.model_dump(mode="json") == found


def test_the_example_of_a_result_keeps_the_contract() -> None:
    """The example of a result is one that Deepgram's own client takes, and every other consumer."""
    check_result(block(FORMAT, "json result").encode())


def test_the_example_of_an_error_is_ours() -> None:
    """The example of an error is, to the byte, what the code makes of such a failure."""
    found = example("error")
    failure = found["failures"][0]
    made = error_part(
        ErrorDetail(**failure["error"]),
        request_id=found["request_id"],
        key=found["key"],
        attempts=found["attempts"],
        failures=found["failures"],
    )
    assert made.decode() == block(FORMAT, "json error")


def test_the_example_of_options_is_taken() -> None:
    """The example of an options file is one that a worker takes."""
    assert parse(("options.json", example("options"))).options.tag == ("board",)


def test_the_example_of_names_is_taken() -> None:
    """The example of a file of names is one without a problem."""
    assert read_names(block(FORMAT, "json speakers").encode()) == ({"0": "Alice", "1": "Bob"}, "")


def test_the_example_of_a_batch_is_taken() -> None:
    """The example of a batch is one that a worker takes, and the plan, the manifest and the result are of it."""
    body = block(FORMAT, "jsonl batch").encode()
    lines = read_lines(body)
    assert not lines.problems.count
    plan = Plan.model_validate(example("plan"))
    assert list(plan.options) == lines.options
    assert plan.batch.size == len(body)
    result = BatchResult.model_validate(example("batch_result"))
    assert [(row.key, row.options) for row in result.members] == [
        (key, None if place is None else plan.options[place]) for key, place in plan.members
    ]
    manifest = BatchManifest.model_validate(example("batch_manifest"))
    assert {result.source_id, manifest.source_id} == {plan.batch.sid}
    assert {result.job_id, manifest.job_id} == {job_id_of(None, plan.batch.sid)}


def test_the_example_of_an_artifact_is_whole() -> None:
    """The reference shown holds the very artifact whose size and digest it gives."""
    found = example("stage")
    assert found["size"] == len(found["inline"].encode())
    assert found["sha256"] == hashlib.sha256(found["inline"].encode()).hexdigest()


# ── the format: identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_identity_is_as_described() -> None:
    """sid, jid and job_id of the example follow from the text alone, and the code comes to the same."""
    found = example("identity")
    by_hand = json.dumps([found[name] for name in ("bucket", "key", "version", "modified")], separators=(",", ":"))
    assert hashlib.sha256(by_hand.encode()).hexdigest() == found["sid"]
    info = Info(found["key"], 1152693, found["version"], found["modified"])
    assert Layout.of("file:///anywhere", load_settings()).source(info).sid == found["sid"]
    preimage = json.dumps(example("jid"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(preimage.encode()).hexdigest() == found["jid"]
    assert str(uuid.uuid5(NAMESPACE, f"{found['jid']}:{found['sid']}")) == found["job_id"]
    assert job_id_of(found["jid"], found["sid"]) == found["job_id"]
    assert str(NAMESPACE) in text_of(FORMAT)


def test_a_jobs_digest_is_made_as_described() -> None:
    """A jid is the digest of content, canonical options and fingerprint, in the form that the example shows."""
    sha256, options, fingerprint = example("jid")
    model = Model.model_validate(example("job")["model"])
    assert fingerprint["models"] == {"transcribing": [model.name, model.revision]}
    code = {stage: CODE_VERSIONS[stage] for stage in fingerprint["code"]}
    now = [sha256, options, {**fingerprint, "code": code}]
    assert job_digest(sha256, Options(), model) == digest_of(*now)


def test_a_stages_digest_is_made_as_described() -> None:
    """A stage's digest is that of its name, code version, model, options and inputs, and the example's are such."""
    job, versions = JobRecord.model_validate(example("job")), example("jid")[2]["code"]
    model = Model.model_validate(job.model)

    def recipe(stage: str, code: dict[str, int], named: object, options: dict[str, Any], read: str) -> str:
        return digest_of(stage, code[stage], named, options, [read])

    def chain(code: dict[str, int]) -> dict[str, str]:
        decoding = recipe("decoding", code, None, {}, job.content.sha256)
        heard = recipe("transcribing", code, [model.name, model.revision], {"task": "transcribe"}, decoding)
        shown = {"paragraphs": True, "punctuate": True, "utt_split": 0.8, "utterances": True}
        return {"transcribing": heard, "generating_output": recipe("generating_output", code, None, shown, heard)}

    assert job.stages == chain(versions)
    now = {plan.name: plan.digest for plan in stage_plans(job.content.sha256, Options(), model)}
    assert now == chain(CODE_VERSIONS)


def test_the_examples_are_of_one_job() -> None:
    """The examples fit together: the same recording, the same job, the same ids."""
    found = example("identity")
    job = JobRecord.model_validate(example("job"))
    assert job.jid == found["jid"]
    assert job.subscribers[0].sid == found["sid"]
    assert job.result == job.stages["generating_output"]
    assert {example("manifest")["source_id"], example("settled")["sid"], example("source")["sid"]} == {found["sid"]}
    result = json.loads(block(FORMAT, "json result"))["metadata"]
    assert {example("manifest")["job_id"], example("settled")["job_id"], result["request_id"]} == {found["job_id"]}
    assert {example("source")["sha256"], result["sha256"]} == {job.content.sha256}


# ── the format: keys and invariants ──────────────────────────────────────────────────────────────────────────────────


def test_every_key_is_listed() -> None:
    """Whatever the code may write in a bucket has its row in the table of objects."""
    layout = Layout.of("file:///anywhere", load_settings())
    keys = {
        layout.input_key("<key>"), layout.result_key("<key>"), layout.progress_key("<key>"), layout.error_key("<key>"),
        layout.source_key("<sid>"), layout.job_key("<jid>"), layout.stage_key("<digest>"), layout.blob_key("<sha256>"),
        layout.output_key("<key>", "srt"),
        layout.settled_key("<sid>"), layout.dead_key("<jid>"), layout.stats_key("<worker>"),
        layout.plan_key("<sid>"), layout.sweep_key(), f"{layout.state}probe/<id>",
        layout.pending_key("<name>"), layout.delivered_key("<name>"),
    }  # fmt: skip
    makers = [name for name in vars(Layout) if name.endswith("_key")]
    assert len(keys) == len(makers) + 1
    listed = {
        key for row in rows_under(text_of(FORMAT), "## 2. The objects") for key in re.findall("`([^`]+)`", row[0])
    }
    assert keys <= listed


def test_every_invariant_is_guarded() -> None:
    """Each invariant has a number and names tests, and every test named is there."""
    rows = rows_under(text_of(FORMAT), "## 8. Invariants")
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert len(rows) >= 20
    for number, invariant, guards in rows:
        named = named_tests(guards)
        assert named, f"{number}. {invariant}: no test is named"
        for file, test in named:
            assert test in functions_in(file), f"{number}. {invariant}: there is no {file}::{test}"


def test_only_tests_that_exist_are_named() -> None:
    """A test that a document names outside the table of invariants exists, too."""
    for document in (FORMAT, "docs/operations.md", "docs/requests.md", "CONTRIBUTING.md"):
        for file, test in named_tests(text_of(document)):
            assert test in functions_in(file), f"{document} names {file}::{test}"


# ── generated tables ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_settings_are_current() -> None:
    """The table of settings is what `python -m handler.cli.settings_table` makes, and has a row for each setting."""
    document = text_of("docs/operations.md")
    assert put_into(document) == document
    for name in Settings.model_fields:
        assert f"| `DROPSCRIBE_{name.upper()}` |" in document


def test_settings_that_are_named_exist() -> None:
    """No document names a DROPSCRIBE_ variable that nothing reads."""
    known = {f"DROPSCRIBE_{name.upper()}" for name in Settings.model_fields} | {"DROPSCRIBE_DEBUG"}
    for document in (FORMAT, "docs/operations.md", "docs/requests.md", "README.md", "CONTRIBUTING.md"):
        assert set(re.findall(r"DROPSCRIBE_[A-Z_]+", text_of(document))) <= known, document


def test_the_exit_codes_are_current() -> None:
    """The table of exit codes has exactly those that the code ends with, and the help names the same."""
    codes = {value for name, value in vars(handler.errors).items() if name.startswith("EXIT_")}
    codes |= {0, INTERRUPTED, 128 + 15}
    table = {int(row[0]) for row in rows_under(text_of("docs/operations.md"), "## Exit codes")}
    assert table == codes
    helped = re.findall(r"^  (\d+) |\((\d+): terminated", EPILOG, re.MULTILINE)
    assert {int(code) for pair in helped for code in pair if code} == codes


def test_the_limits_are_current() -> None:
    """The limits that the documents give in figures are the code's."""
    operations = text_of("docs/operations.md")
    settings = load_settings()
    assert f"{settings.max_size_bytes // 2**30} GiB and {settings.max_duration_seconds / 3600:.0f} hours" in operations
    text = text_of(FORMAT)
    assert f"at most {MAX_SUBSCRIBERS} and the claimer's own" in text
    assert f"`lease_seconds` + {EXPIRY_SLACK:g} s" in text
    assert f"at most {ATTEMPTS} times in all, with jittered waits of at most {CAP_SECONDS:g} s" in text
    assert f"newest last, at most {KEPT_FAILURES}" in text
    assert f"At most {MAX_BYTES // 2**20} MiB, {MAX_MEMBERS:,} members and {MAX_GLOBS} globs" in text
    assert f"up to {WINDOW:,} a scan" in text
    assert f"the last {GRACE_SECONDS / 3600:.0f} hours goes" in text
    assert TOLD == 10


def test_the_metrics_are_those_of_the_code() -> None:
    """docs/operations.md lists each metric with its kind, its labels and its meaning, and no other."""
    told = rows_under(text_of("docs/operations.md"), "<!-- metrics -->")
    assert told == [
        [
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{name}`" for name in metric.label_names) or "–",
            metric.help.removesuffix("."),
        ]
        for metric in CATALOGUE
    ]


def test_the_checks_are_those_of_the_code() -> None:
    """docs/operations.md speaks of every check of `dropscribe doctor` that is about more than its own name says."""
    rows = rows_under(text_of("docs/operations.md"), "`advice`, and for some `data`: the same as figures.")
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    assert named == {name for name, _ in (*MACHINE, *BUCKET, *QUEUE)} - {"python", "settings"}
