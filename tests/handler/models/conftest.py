"""A prefix of models in a real S3 bucket, reached through a proxy that does what a test plans."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.models.mirror import Mirror
from handler.models.push import push, to_push
from handler.store.s3 import S3Store
from pipeline import weights as weights_of
from tests.handler.faults.faulty_proxy import FaultyProxy

URL = "s3://anywhere/models"  # only that it is a bucket counts where a mirror is given
PART = 16 << 10  # bytes; the fixed Whisper's weights are several


@dataclass
class Shop:
    """``store``: of the prefix, by way of ``proxy``. Its clock does not wait."""

    store: S3Store
    proxy: FaultyProxy
    client: Any
    bucket: str
    home: Path
    arrived: list[int] = field(default_factory=list)

    def mirror(self, **given: Any) -> Mirror:
        """A worker's: what it asked the bucket once it does not ask again."""
        usual: dict[str, Any] = {"part": PART, "threads": 3, "told": self.arrived.append}
        return Mirror(self.store, self.home, VirtualClock(), **{**usual, **given})

    def push(self, name: str, folder: Path) -> str:
        """Gives the revision."""
        return push(self.store, name, folder, to_push(folder)).revision

    def stored(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix="models/").get("Contents", ())
        return [entry["Key"].removeprefix("models/") for entry in found]

    def gets(self, ending: str) -> int:
        """How many answers with parts of such objects were asked for."""
        return sum(call.method == "GET" and call.key.endswith(ending) for call in self.proxy.seen)


@pytest.fixture
def shop(
    s3_bucket: str, s3_client: Any, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    with FaultyProxy(s3_endpoint).serving() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        store = S3Store(s3_bucket, "models", clock=SystemClock())
        yield Shop(store, proxy, s3_client, s3_bucket, tmp_path / "home")
        store.close()


@pytest.fixture
def weights(fixed_whisper: Path, tmp_path: Path) -> Path:
    """A model of one's own to change."""
    return Path(shutil.copytree(fixed_whisper, tmp_path / "weights" / "fixed"))


def another(folder: Path) -> Path:
    """The same model with other weights of the same size, as a fine-tune of it has."""
    body = bytearray((folder / "model.bin").read_bytes())
    body[-1] ^= 1
    (folder / "model.bin").write_bytes(body)
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in weights_of.WEIGHTS if (folder / name).is_file()}


def change(shop: Shop, key: str, change: Any) -> None:
    body = shop.client.get_object(Bucket=shop.bucket, Key=f"models/{key}")["Body"].read()
    shop.client.put_object(Bucket=shop.bucket, Key=f"models/{key}", Body=change(body))
