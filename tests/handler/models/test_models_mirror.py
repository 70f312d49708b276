"""A model comes out of a bucket whole, checked, once, and stays as it is under its readers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.errors import AccessDenied, Unavailable
from handler.models.mirror import Mirror
from handler.models.places import held
from pipeline import weights as weights_of
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable, OptionsError, OutOfSpace
from tests.handler.faults.faulty_proxy import Call
from tests.handler.models.conftest import PART, Shop, another

URL = "s3://anywhere/models"  # only that it is a bucket counts where a mirror is given


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in weights_of.WEIGHTS if (folder / name).is_file()}


# ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_pushed_comes_back(shop: Shop, weights: Path) -> None:
    """The same bytes, the same revision, in several parts, under the model's name; nothing half is left."""
    revision = shop.push("small", weights)
    model = resolve("small", URL, shop.home, remote=shop.mirror())
    assert (model.name, model.revision) == ("small", revision)
    assert model.revision == weights_of.identity(weights)[0]
    assert bytes_of(Path(model.folder or "")) == bytes_of(weights)
    assert weights_of.damage(Path(model.folder or "")) == ""
    assert shop.gets("model.bin") == -(-(weights / "model.bin").stat().st_size // PART) >= 3
    assert sorted(p.name for p in shop.home.iterdir() if not p.name.startswith(".")) == [
        "small",
        f"small@{revision[:16]}",
    ]
    assert sum(shop.arrived) == sum(len(body) for body in bytes_of(weights).values())


def test_a_model_is_brought_once(shop: Shop, weights: Path) -> None:
    """A second worker, and the next start, download no file again, and a running one asks for nothing."""
    shop.push("small", weights)
    mirror = shop.mirror()
    first = resolve("small", URL, shop.home, remote=mirror)
    asked = len(shop.proxy.seen)
    assert resolve("small", URL, shop.home, remote=mirror) == first
    assert len(shop.proxy.seen) == asked
    assert resolve("small", URL, shop.home, remote=shop.mirror()) == first
    assert [call.key.rpartition("/")[2] for call in shop.proxy.seen[asked:]] == [weights_of.RECORD]


def test_auto_is_the_best_there(shop: Shop, weights: Path) -> None:
    """auto takes the best that the bucket lists, and fetches no other."""
    for name in ("tiny", "medium", "our-own"):
        shop.push(name, weights)
    shop.proxy.seen.clear()
    assert resolve(None, URL, shop.home, remote=shop.mirror()).name == "medium"
    assert not [call for call in shop.proxy.seen if "tiny" in call.key or "our-own" in call.key]


def test_auto_takes_no_lesser_one_over_a_broken_one(shop: Shop, weights: Path) -> None:
    """A best model whose objects were damaged is an error: a fleet must not quietly publish poorer transcripts."""
    shop.push("medium", weights)
    change(shop, key_of(shop, "model.bin"), flipped)
    shop.push("tiny", weights)
    with pytest.raises(ModelUnavailable, match="medium"):
        resolve(None, URL, shop.home, remote=shop.mirror())


@pytest.mark.parametrize(
    ("asked", "found"), [("turbo", "large-v3-turbo"), ("whisper-base", "base"), ("nova-3", "base")]
)
def test_every_kind_of_name_leads_there(asked: str, found: str, shop: Shop, weights: Path) -> None:
    """Aliases and Deepgram's names are brought as names of ours are."""
    shop.push("large-v3-turbo", weights)
    shop.push("base", weights)
    assert resolve(asked, URL, shop.home, default="base", remote=shop.mirror()).name == found


def test_what_the_bucket_lacks_is_still_found_at_home(
    shop: Shop, weights: Path, fixed_whisper: Path, tmp_path: Path
) -> None:
    """As with a folder: the source goes first, the folder of fetched models second."""
    shop.push("small", weights)
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "tiny").symlink_to(fixed_whisper)
    assert resolve("tiny", URL, home, remote=shop.mirror()).folder == str(fixed_whisper.resolve())


# ── what does not ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_model_lists_those_there(shop: Shop, weights: Path) -> None:
    """Whoever asks for one that is not in the bucket reads which are, and how to put it there."""
    shop.push("small", weights)
    shop.push("our-own", weights)
    for name, trusted in (("large-v3", False), ("theirs", True)):
        with pytest.raises(ModelUnavailable, match=name) as caught:
            resolve(name, URL, shop.home, remote=shop.mirror(), trusted=trusted)
        assert "small, our-own" in caught.value.hint
        assert "dropscribe models push" in caught.value.hint
    with pytest.raises(OptionsError, match="theirs"):  # in a recording's options: the person's error
        resolve("theirs", URL, shop.home, remote=shop.mirror())


@pytest.mark.parametrize("name", ["../secrets", ".hidden", "ünïcode", "x" * 200])
def test_no_name_leads_out_of_the_prefix(name: str, shop: Shop) -> None:
    """What is no name of a model is not even asked for."""
    with pytest.raises(OptionsError):
        resolve(name, URL, shop.home, remote=shop.mirror())
    assert not [call for call in shop.proxy.seen if call.key]


def test_an_empty_prefix_never_becomes_sphinx(shop: Shop) -> None:
    """A fleet that was told of a bucket gets an error that says how to fill it."""
    with pytest.raises(ModelUnavailable, match="no Whisper weights") as caught:
        resolve(None, URL, shop.home, remote=shop.mirror())
    assert "dropscribe models push" in caught.value.hint


def change(shop: Shop, key: str, change: Any) -> None:
    body = shop.client.get_object(Bucket=shop.bucket, Key=f"models/{key}")["Body"].read()
    shop.client.put_object(Bucket=shop.bucket, Key=f"models/{key}", Body=change(body))


def key_of(shop: Shop, ending: str) -> str:
    [found] = [key for key in shop.stored() if key.endswith(ending)]
    return found


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


def test_a_wrong_checksum_names_the_file(shop: Shop, weights: Path) -> None:
    """Bytes that are not those recorded never become a model; the error says which file, and what to do."""
    shop.push("small", weights)
    change(shop, key_of(shop, "model.bin"), flipped)
    with pytest.raises(ModelUnavailable, match=r"model\.bin does not have the recorded checksum") as caught:
        resolve("small", URL, shop.home, remote=shop.mirror())
    assert "dropscribe models push small" in caught.value.hint
    assert weights_of.is_model(shop.home / "small") is False
    assert not list(shop.home.glob("small@*[0-9a-f]"))


def test_a_missing_file_is_named(shop: Shop, weights: Path) -> None:
    """A bucket from which somebody deleted is not repaired by guessing."""
    shop.push("small", weights)
    shop.client.delete_object(Bucket=shop.bucket, Key=f"models/{key_of(shop, 'tokenizer.json')}")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json is not there"):
        resolve("small", URL, shop.home, remote=shop.mirror())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda record: {"format": 3}, "cannot be read"),
        (lambda record: {**record, "sha256": {}}, "no checksums"),
        (lambda record: {**record, "files": {"../../x": 1}, "sha256": {"../../x": "0" * 64}}, "cannot be read"),
        (lambda record: {**record, "at": "../other"}, "cannot be read"),
        (lambda record: {**record, **{k: {n: v for n, v in record[k].items() if n != "tokenizer.json"}
                                      for k in ("files", "sha256")}}, "no tokenizer.json"),
    ],
    ids=["newer", "old", "paths", "place", "incomplete"],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(made: Any, said: str, shop: Shop, weights: Path) -> None:
    """What cannot be checked, or leads elsewhere, is an error; nothing is written for it."""
    shop.push("small", weights)
    change(shop, f"small/{weights_of.RECORD}", lambda body: json.dumps(made(json.loads(body))).encode())
    with pytest.raises(ModelUnavailable, match=said):
        resolve("small", URL, shop.home, remote=shop.mirror())
    assert not list(shop.home.glob("small*"))


def test_a_missing_permission_is_named(shop: Shop, weights: Path) -> None:
    """403 says which action of IAM is wanted: s3:GetObject for a model, s3:ListBucket for what there is."""
    shop.push("small", weights)
    shop.proxy.plan = lambda call: "AccessDenied"
    with pytest.raises(AccessDenied, match="s3:GetObject"):
        resolve("small", URL, shop.home, remote=shop.mirror())
    with pytest.raises(AccessDenied, match="s3:ListBucket"):
        resolve("auto", URL, shop.home, remote=shop.mirror())


# ── trouble on the way ───────────────────────────────────────────────────────────────────────────────────────────────


def on(*faults: tuple[str, int, str]) -> Any:
    """A plan: to the so-and-so-many-th GET of such a key, that happens."""
    counts: dict[str, int] = {}

    def plan(call: Call) -> str | None:
        for ending, number, fault in faults:
            if call.method == "GET" and call.key.endswith(ending):
                counts[ending + fault] = counts.get(ending + fault, 0) + 1
                if counts[ending + fault] == number:
                    return fault
        return None

    return plan


@pytest.mark.parametrize("fault", ["torn", "cut", "InternalError", "reset-after"])
def test_a_torn_part_is_continued(fault: str, shop: Shop, weights: Path) -> None:
    """An answer that ends early costs the rest of that part, not the model."""
    revision = shop.push("small", weights)
    shop.proxy.plan = on(("model.bin", 2, fault))
    assert resolve("small", URL, shop.home, remote=shop.mirror(threads=1)).revision == revision
    assert [call.fault for call in shop.proxy.faults()] == [fault]


def test_a_damaged_part_is_noticed(shop: Shop, weights: Path) -> None:
    """A bit that flips on the way fails the checksum; the next try starts from nothing and is right."""
    revision = shop.push("small", weights)
    shop.proxy.plan = on(("model.bin", 2, "flip"))
    with pytest.raises(ModelUnavailable, match=r"model\.bin"):
        resolve("small", URL, shop.home, remote=shop.mirror())
    assert resolve("small", URL, shop.home, remote=shop.mirror()).revision == revision


class Cut(Exception):
    """As if the process ended there."""


def test_a_cut_download_is_taken_up_again(shop: Shop, weights: Path) -> None:
    """What arrived before a crash is not asked for again, and nobody sees the half."""
    revision = shop.push("small", weights)

    def check() -> None:
        if shop.gets("model.bin") == 3:
            raise Cut

    with pytest.raises(Cut):
        resolve("small", URL, shop.home, remote=shop.mirror(check=check, threads=1))
    assert not (shop.home / "small").exists()
    [partial] = shop.home.glob("*.partial")
    assert (partial / "model.bin").is_file()
    shop.proxy.seen.clear()
    assert resolve("small", URL, shop.home, remote=shop.mirror(threads=1)).revision == revision
    parts = -(-(weights / "model.bin").stat().st_size // PART)
    assert shop.gets("model.bin") == parts - 2
    assert shop.gets("/config.json") == 0
    assert not list(shop.home.glob("*.partial"))


def test_what_a_crash_damaged_is_fetched_again(shop: Shop, weights: Path) -> None:
    """Parts that were noted but never reached the disk fail the checksum, and are fetched anew without an error."""
    revision = shop.push("small", weights)

    def check() -> None:
        if shop.gets("model.bin") == 3:
            raise Cut

    with pytest.raises(Cut):
        resolve("small", URL, shop.home, remote=shop.mirror(check=check, threads=1))
    [partial] = shop.home.glob("*.partial")
    with (partial / "model.bin").open("r+b") as file:
        file.write(bytes(100))
    assert resolve("small", URL, shop.home, remote=shop.mirror()).revision == revision


def test_two_workers_of_one_host_bring_it_once(shop: Shop, weights: Path) -> None:
    """Whoever comes second waits for the first one's, and downloads nothing."""
    revision = shop.push("small", weights)
    start = threading.Barrier(3)

    def work() -> str:
        mirror = shop.mirror()
        start.wait()
        return resolve("small", URL, shop.home, remote=mirror).revision

    with ThreadPoolExecutor(3) as pool:
        found = [future.result() for future in [pool.submit(work) for _ in range(3)]]
    assert found == [revision] * 3
    assert shop.gets("/config.json") == 1
    assert not list(shop.home.glob("*.partial"))


def test_a_stopped_worker_does_not_wait_for_another(shop: Shop, weights: Path) -> None:
    """While another process brings the model, a signal to stop is still heard."""
    shop.push("small", weights)
    code = (
        "import sys, pathlib; from handler.models.places import held; from handler.clock import SystemClock\n"
        "with held(pathlib.Path(sys.argv[1]), 'small', SystemClock(), lambda: None):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(shop.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        looks = iter(range(5))

        def check() -> None:
            if next(looks, None) is None:
                raise Cut

        with pytest.raises(Cut):
            resolve("small", URL, shop.home, remote=shop.mirror(check=check))
    finally:
        child.communicate("")
    assert shop.gets("model.bin") == 0
    with held(shop.home, "small", SystemClock(), lambda: None):
        pass  # who died lets go


def test_a_full_disk_is_called_one(shop: Shop, weights: Path) -> None:
    """A model that cannot fit is refused before a byte of it is asked for."""
    shop.push("small", weights)
    change(
        shop,
        f"small/{weights_of.RECORD}",
        lambda body: json.dumps((r := json.loads(body)) | {"files": r["files"] | {"model.bin": 1 << 60}}).encode(),
    )
    with pytest.raises(OutOfSpace, match="no space"):
        resolve("small", URL, shop.home, remote=shop.mirror())
    assert shop.gets("model.bin") == 0


def test_a_disk_that_fills_is_called_one(shop: Shop, weights: Path, tmp_path: Path) -> None:
    """So is one that other writers filled meanwhile."""
    shop.push("small", weights)

    def full() -> None:
        if shop.gets("model.bin"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutOfSpace, match="no space"):
        resolve("small", URL, shop.home, remote=shop.mirror(check=full))


# ── another revision ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_revision_becomes_another_folder(shop: Shop, weights: Path) -> None:
    """A worker that runs keeps its weights; one that starts gets the new ones; the old folder is untouched."""
    old = shop.push("small", weights)
    running = shop.mirror()
    first = resolve("small", URL, shop.home, remote=running)
    before = bytes_of(Path(first.folder or ""))
    new = shop.push("small", another(weights))
    assert new != old
    assert resolve("small", URL, shop.home, remote=running) == first
    second = resolve("small", URL, shop.home, remote=shop.mirror())
    assert (second.revision, first.revision) == (new, old)
    assert second.folder != first.folder
    assert bytes_of(Path(first.folder or "")) == before
    weights_of.check_unchanged(Path(first.folder or ""), old)
    assert resolve("small", str(shop.home), shop.home).revision == new  # what the bare name means here now


def test_a_pin_is_kept(shop: Shop, weights: Path) -> None:
    """name@revision is that revision: from the bucket, from the disk when the bucket moved on, or an error."""
    old = shop.push("small", weights)
    pinned = f"small@{old[:12]}"
    assert resolve(pinned, URL, shop.home, remote=shop.mirror()).revision == old
    new = shop.push("small", another(weights))
    assert resolve("small", URL, shop.home, remote=shop.mirror()).revision == new
    assert resolve(pinned, URL, shop.home, remote=shop.mirror()).revision == old
    with pytest.raises(ModelUnavailable, match=f"{new[:12]}, not {'0' * 12}"):
        resolve(f"small@{'0' * 12}", URL, shop.home, remote=shop.mirror())


def test_a_bucket_that_is_down_does_not_stop_who_has_the_model(
    shop: Shop, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart during an outage works with what came before, and says so; who has nothing is told to try again."""
    revision = shop.push("small", weights)
    shop.proxy.plan = lambda call: "InternalError"
    with pytest.raises(Unavailable):
        resolve("small", URL, shop.home, remote=shop.mirror())
    shop.proxy.plan = lambda call: None
    resolve("small", URL, shop.home, remote=shop.mirror())
    shop.proxy.plan = lambda call: "InternalError"
    for name in ("small", "auto"):
        assert resolve(name, URL, shop.home, remote=shop.mirror()).revision == revision
    assert "came from there before" in caplog.text


def test_an_outage_changes_no_running_workers_model(shop: Shop, weights: Path) -> None:
    """Who started during an outage with what was here goes on with it when another worker brings the next revision."""
    old = shop.push("small", weights)
    resolve("small", URL, shop.home, remote=shop.mirror())
    shop.proxy.plan = lambda call: "InternalError"
    running = shop.mirror()
    assert resolve("small", URL, shop.home, remote=running).revision == old
    shop.proxy.plan = lambda call: None
    new = shop.push("small", another(weights))
    assert resolve("small", URL, shop.home, remote=shop.mirror()).revision == new
    assert resolve("small", URL, shop.home, remote=running).revision == old


def test_a_name_that_is_not_there_is_not_asked_for_each_time(shop: Shop, weights: Path) -> None:
    """Recordings that all say nova-3 cost the bucket of models one request a minute; one pushed later is then found."""
    shop.push("small", weights)
    clock = VirtualClock()
    mirror = Mirror(shop.store, shop.home, clock)
    for _ in range(3):
        assert resolve("nova-3", URL, shop.home, default="small", remote=mirror).name == "small"
    assert shop.gets("nova-3/dropscribe-model.json") == 1
    shop.push("nova-3", weights)
    clock.advance(60)
    assert resolve("nova-3", URL, shop.home, default="small", remote=mirror).name == "nova-3"


def test_a_model_put_there_by_hand_with_a_record_works(shop: Shop, weights: Path) -> None:
    """Files beside the record, as a copied folder has them, are as good as those that push writes."""
    weights_of.write_record(weights, weights_of.describe(weights))
    for entry in os.scandir(weights):
        shop.client.upload_file(entry.path, shop.bucket, f"models/small/{entry.name}")
    assert resolve("small", URL, shop.home, remote=shop.mirror()).revision == weights_of.identity(weights)[0]
