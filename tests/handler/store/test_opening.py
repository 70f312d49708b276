"""What a person may type for a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.clock import SystemClock
from handler.errors import Usage
from handler.store.folder import FolderStore
from handler.store.opening import open_store
from handler.store.s3 import S3Store


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/some/prefix/", "s3://bucket/some/prefix"),
    ],
)
def test_s3(aws_environment: str, url: str, opened: str) -> None:
    """A bucket with or without a prefix; a slash at the end means nothing."""
    store = open_store(url, SystemClock())
    assert isinstance(store, S3Store)
    assert store.url == opened
    store.close()


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, relative or not, and a file URL name the same folder; the store's own URL opens it again."""
    folder = tmp_path / "a b%é"
    monkeypatch.chdir(tmp_path)
    stores = [open_store(url, SystemClock()) for url in (str(folder), "a b%é", folder.as_uri(), "./a b%é/")]
    stores.append(open_store(stores[0].url, SystemClock(), fsync=True))
    assert all(isinstance(store, FolderStore) for store in stores)
    assert {store.url for store in stores} == {folder.as_uri()}
    stores[-1].put("in/a", b"x")
    assert (folder / "in/a").read_bytes() == b"x"
    assert [store.get("in/a").body for store in stores] == [b"x"] * 5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "names no folder"),
        ("memory://test", "gone with this process"),
        ("gs://bucket", "no store that is known"),
        ("https://bucket.s3.amazonaws.com", "no store that is known"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3:bucket", "lacks the //"),
        ("s3://key:secret@bucket", "takes no credentials"),
        ("s3://localhost:9000/bucket", "names a port"),
        ("file://host/path", "names the host host"),
        ("file://", "names no folder"),
        ("no/such/folder", "there is no folder"),
        ("a-file", "is not a folder"),
    ],
)
def test_what_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    """Anything else is one line that says what is wrong and what to write, without a secret in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_bytes(b"")
    with pytest.raises(Usage, match=said) as raised:
        open_store(url, SystemClock())
    assert raised.value.hint
    assert "secret" not in raised.value.message
