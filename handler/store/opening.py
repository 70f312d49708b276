"""From a URL to a store. Takes what a person typed; gives a `Store`, or one line that says what is wrong with it.

Knows nothing of what the store is for, and connects to nothing: whether the bucket exists shows at the first request.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from handler.clock import Clock
from handler.errors import Usage
from handler.store.base import Store
from handler.store.folder import FolderStore

_FORMS = "Give s3://BUCKET/PREFIX, file:///PATH, or the path of a folder."


def open_store(url: str, clock: Clock, *, fsync: bool = False, settle_seconds: float = 1.0) -> Store:
    """``s3://bucket/prefix``, ``file:///path`` or a plain path. For folders: with ``fsync`` writes survive a power cut,
    and ``settle_seconds`` is how long a file must be unchanged to be ready.

    A folder is made when something is first written to it; the one it lies in must exist. `Usage` for anything that
    cannot be a store, `SettingsError` where AWS's own settings cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        if url.lower().startswith(("s3:", "file:", "memory:")):
            raise Usage(f"{url} lacks the // after {url.partition(':')[0]}:", _FORMS)
        return _folder(url, url, clock, fsync, settle_seconds)
    match scheme.lower():
        case "s3":
            return _s3(url, rest, clock)
        case "file":
            host = urlsplit(url).netloc
            if host not in ("", "localhost"):
                raise Usage(f"{url} names the host {host}: a folder store is on this machine", "Write file:///PATH.")
            return _folder(url, unquote(rest[len(host) :]), clock, fsync, settle_seconds)
        case "memory":
            raise Usage(f"{url} would be gone with this process, and its transcripts with it", _FORMS)
    raise Usage(f"{url} is no store that is known here", _FORMS)


def event_keys(url: str) -> Callable[[str, str], str | None]:
    """From the bucket and key of an event to the key in the store at ``url``.

    None when it is another bucket's, empty when it lies outside the store's prefix. `Usage` for a store that sends no
    events.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "s3":
        raise Usage(
            f"{url} is not on S3: nobody tells of what is dropped there",
            "Use `dropscribe work` without a queue: it looks for itself.",
        )
    name, _, path = rest.partition("/")
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""

    def translate(bucket: str, key: str) -> str | None:
        if bucket != name:
            return None
        return key.removeprefix(prefix) if key.startswith(prefix) else ""

    return translate


def event_names(url: str) -> Callable[[str], tuple[str, str]]:
    """The way back: from a key in the store at ``url`` to the bucket and key that an event names. `Usage` as above."""
    event_keys(url)
    name, _, path = url.partition("://")[2].partition("/")
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    return lambda key: (name, prefix + key)


def _s3(url: str, rest: str, clock: Clock) -> Store:
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise Usage(f"{url} names no bucket", _FORMS)
    if "@" in bucket:
        raise Usage(
            "an S3 URL takes no credentials", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    if ":" in bucket:
        raise Usage(f"{url} names a port", "Set AWS_ENDPOINT_URL to the server's address, and give s3://BUCKET/PREFIX.")
    from handler.store.s3 import S3Store  # here, so that a folder's user never waits for boto3

    return S3Store(bucket, prefix, clock=clock)


def _folder(url: str, name: str, clock: Clock, fsync: bool, settle_seconds: float) -> Store:
    if not name or "\0" in name:
        raise Usage(f"{url!r} names no folder", _FORMS)
    path = Path(name).absolute()
    if path.exists() and not path.is_dir():
        raise Usage(f"{path} is not a folder", _FORMS)
    if not path.exists() and not path.parent.is_dir():
        raise Usage(f"there is no folder {path.parent} for {path.name} to be in", "Make it first, or check the path.")
    return FolderStore(path, clock, fsync=fsync, settle_seconds=settle_seconds)
