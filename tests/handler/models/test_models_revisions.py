"""The next revision in a bucket, an outage, a name that is not there: a running worker's model stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handler.clock import VirtualClock
from handler.errors import Unavailable
from handler.models.mirror import Mirror
from pipeline import weights as weights_of
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable
from tests.handler.models.conftest import URL, Shop, another, bytes_of


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
