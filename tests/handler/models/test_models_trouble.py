"""A model on its way out of a bucket: torn answers, crashes, several workers at once, full disks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock
from handler.models.places import held
from pipeline import weights as weights_of
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable, OutOfSpace
from tests.handler.faults.faulty_proxy import Call
from tests.handler.models.conftest import PART, URL, Shop, change


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


def cut_off(shop: Shop) -> Path:
    """A download that ends when the third part of the weights has been asked for; gives what it leaves."""

    def check() -> None:
        if shop.gets("model.bin") == 3:
            raise Cut

    with pytest.raises(Cut):
        resolve("small", URL, shop.home, remote=shop.mirror(check=check, threads=1))
    [partial] = shop.home.glob("*.partial")
    return partial


def test_a_cut_download_is_taken_up_again(shop: Shop, weights: Path) -> None:
    """What arrived before a crash is not asked for again, and nobody sees the half."""
    revision = shop.push("small", weights)
    partial = cut_off(shop)
    assert not (shop.home / "small").exists()
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
    partial = cut_off(shop)
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


def test_who_has_a_model_does_not_wait_while_another_comes(shop: Shop, weights: Path) -> None:
    """Gigabytes that are fetched ahead for a later recording hold up no job whose model is here."""
    shop.push("small", weights)
    shop.push("large-v3", weights)
    coming, go_on = threading.Event(), threading.Event()
    go_on.set()

    def check() -> None:
        coming.set()
        assert go_on.wait(60)

    mirror = shop.mirror(check=check)
    first = resolve("small", URL, shop.home, remote=mirror)
    coming.clear()
    go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(resolve, "large-v3", URL, shop.home, remote=mirror)
        try:
            assert coming.wait(60)
            assert pool.submit(resolve, "small", URL, shop.home, remote=mirror).result(30) == first
            assert not other.done()
        finally:
            go_on.set()
    assert other.result().name == "large-v3"


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
