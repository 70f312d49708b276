"""A model comes out of a bucket whole, checked, once; or one line says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handler.errors import AccessDenied
from pipeline import weights as weights_of
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable, OptionsError
from tests.handler.models.conftest import PART, URL, Shop, bytes_of, change

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


def test_an_empty_file_comes_too(shop: Shop, weights: Path) -> None:
    """A file of no bytes is there afterwards, and no part of it was asked for."""
    (weights / "preprocessor_config.json").write_bytes(b"")
    revision = shop.push("small", weights)
    model = resolve("small", URL, shop.home, remote=shop.mirror())
    assert (model.revision, bytes_of(Path(model.folder or ""))) == (revision, bytes_of(weights))
    assert shop.gets("preprocessor_config.json") == 0


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
