"""A model goes into a bucket or a folder whole, once, and never under those who read the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handler.clock import SystemClock
from handler.errors import Unavailable
from handler.models.push import push, push_into_folder, to_push
from pipeline import weights as weights_of
from pipeline.catalog import on_disk, resolve
from pipeline.errors import ModelUnavailable
from tests.handler.models.conftest import Shop, another


def test_the_record_is_written_last(shop: Shop, weights: Path) -> None:
    """Until all files are there no record says so: a half-pushed model is never seen."""
    revision = shop.push("small", weights)
    puts = [call.key for call in shop.proxy.seen if call.method == "PUT"]
    assert puts[-1] == f"models/small/{weights_of.RECORD}"
    assert len(puts) == len(weights_of.describe(weights).files) + 1
    record = json.loads(shop.client.get_object(Bucket=shop.bucket, Key=puts[-1])["Body"].read())
    assert set(record["sha256"]) == set(record["files"])
    assert {f"small/{record['at']}/{name}" for name in record["files"]} < set(shop.stored())
    assert revision.startswith(record["at"])


def test_a_push_that_is_cut_is_not_seen(shop: Shop, weights: Path) -> None:
    """With the last file refused there is nothing to pull; pushed again it is whole."""
    shop.proxy.plan = lambda call: "InternalError" if call.key.endswith("tokenizer.json") else None
    with pytest.raises(Unavailable):
        shop.push("small", weights)
    assert shop.mirror().list() == []
    shop.proxy.plan = lambda call: None
    shop.push("small", weights)
    assert shop.mirror().list() == ["small"]


def test_a_push_again_sends_nothing(shop: Shop, weights: Path) -> None:
    """Idempotent: the same model there is found out by asking, unless a file of it is gone."""
    record = to_push(weights)
    assert not push(shop.store, "small", weights, record).already
    shop.proxy.seen.clear()
    assert push(shop.store, "small", weights, record).already
    assert {call.method for call in shop.proxy.seen} == {"GET", "HEAD"}
    [key] = [key for key in shop.stored() if key.endswith("model.bin")]
    shop.client.delete_object(Bucket=shop.bucket, Key=f"models/{key}")
    assert not push(shop.store, "small", weights, record).already
    assert key in shop.stored()


def test_another_revision_overwrites_nothing(shop: Shop, weights: Path) -> None:
    """Who is downloading the revision before still finds all of its files as they were."""
    shop.push("small", weights)
    before = {key: shop.client.head_object(Bucket=shop.bucket, Key=f"models/{key}")["ETag"] for key in shop.stored()}
    shop.push("small", another(weights))
    for key, etag in before.items():
        if not key.endswith(weights_of.RECORD):
            assert shop.client.head_object(Bucket=shop.bucket, Key=f"models/{key}")["ETag"] == etag


def test_damaged_weights_do_not_go_out(shop: Shop, weights: Path) -> None:
    """A folder whose files are not those of its record is refused, by name of the file."""
    weights_of.write_record(weights, weights_of.describe(weights, repo="a/b", commit="0" * 40))
    another(weights)
    with pytest.raises(ModelUnavailable, match=r"model\.bin"):
        shop.push("small", weights)
    (weights / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        shop.push("small", weights)
    assert shop.stored() == []


def test_the_hubs_commit_travels(shop: Shop, weights: Path) -> None:
    """What was fetched from the hub has the same revision in every place: the commit."""
    weights_of.write_record(weights, weights_of.describe(weights, repo="Systran/faster-whisper-small", commit="a" * 40))
    assert shop.push("small", weights) == "a" * 40
    model = resolve("small", "s3://b/models", shop.home, remote=shop.mirror())
    assert (model.revision, model.version) == ("a" * 40, "a" * 12)
    assert resolve("small", None, shop.home).revision == "a" * 40
    record = weights_of.read_record(Path(model.folder or ""))
    assert record is not None
    assert (record.repo, record.at) == ("Systran/faster-whisper-small", "")


def test_old_records_are_still_read(weights: Path, shop: Shop) -> None:
    """A record of format 1, without checksums, names its revision as before, and is completed when it is pushed."""
    sizes = weights_of.describe(weights).files
    (weights / weights_of.RECORD).write_text(
        json.dumps({"format": 1, "repo": "a/b", "commit": "b" * 40, "files": sizes})
    )
    assert weights_of.identity(weights) == ("b" * 40, "b" * 12)
    assert shop.push("small", weights) == "b" * 40
    assert set(shop.mirror().record("small").sha256) == set(sizes)


# ── into a folder ────────────────────────────────────────────────────────────────────────────────────────────────────


def into(target: Path, weights: Path) -> bool:
    return push_into_folder(target, "small", weights, to_push(weights), SystemClock()).already


def test_a_folder_of_models_is_filled(weights: Path, tmp_path: Path) -> None:
    """What was pushed into a folder is what DROPSCRIBE_MODELS makes of it; again, it is left alone."""
    target = tmp_path / "share" / "models"
    assert not into(target, weights)
    model = resolve(None, str(target), tmp_path / "home")
    assert (model.name, model.revision) == ("small", weights_of.identity(weights)[0])
    assert into(target, weights)
    assert len(on_disk(str(target), tmp_path / "home")) == 1


def test_a_folders_readers_keep_theirs(weights: Path, tmp_path: Path) -> None:
    """A newer revision gets a folder of its own and the bare name; the older one stays where its readers are."""
    target = tmp_path / "models"
    into(target, weights)
    first = resolve("small", str(target), tmp_path / "home")
    into(target, another(weights))
    second = resolve("small", str(target), tmp_path / "home")
    assert first.revision != second.revision
    weights_of.check_unchanged(Path(first.folder or ""), first.revision)
    pinned = resolve(f"small@{first.revision[:12]}", str(target), tmp_path / "home")
    assert pinned.revision == first.revision


def test_a_model_that_is_a_plain_folder_is_kept(weights: Path, tmp_path: Path) -> None:
    """What a person copied there keeps its files, under the name of its revision."""
    target = tmp_path / "models"
    target.mkdir()
    plain = target / "small"
    plain.mkdir()
    for entry in weights.iterdir():
        (plain / entry.name).write_bytes(entry.read_bytes())
    assert into(target, weights), "the same model is there"
    old = weights_of.identity(plain)[0]
    into(target, another(weights))
    assert resolve(f"small@{old[:12]}", str(target), tmp_path / "home").revision == old
    assert resolve("small", str(target), tmp_path / "home").revision != old


def test_the_example_of_a_record_is_ours() -> None:
    """The example in docs/format.md is a record that is read, with every field there is."""
    text = (Path(__file__).parents[3] / "docs/format.md").read_text()
    found = json.loads(text.partition("```json model\n")[2].partition("```")[0])
    record = weights_of.Record.model_validate(found)
    assert set(found) == set(weights_of.Record.model_fields)
    assert record.revision.startswith(record.at)
