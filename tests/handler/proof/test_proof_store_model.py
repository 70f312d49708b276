"""The stores against a dictionary: any sequence of requests gives what the `Store` protocol promises."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from handler.clock import SystemClock, VirtualClock
from handler.errors import Changed, NotFound, Refused
from handler.store.base import Info, Store
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore

KEYS = st.sampled_from(["a", "b/c", "b/d", "b/e/f", "ü.wav", "with space", "b-"])
BODIES = st.sampled_from([b"", b"one", b"two", b"three" * 1000])
PREFIXES = st.sampled_from(["", "b", "b/", "b/e", "nothing", "ü"])


class AStore(RuleBasedStateMachine):
    """``model``: key → body. ETags are only compared: one that was given for a body holds while that body lies there,
    and bodies that came and went may share it, as on S3.
    """

    store: Store
    folder: Path
    make: ClassVar[Callable[[Path], Store]]  # gives an empty store; the folder is there for it

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="proof-"))
        self.store = type(self).make(self.folder)
        self.model: dict[str, bytes] = {}
        self.etags: dict[str, dict[str, bytes]] = {}  # key → ETag → the body it was given for
        self.seen: dict[str, tuple[Info, bytes]] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _wrote(self, key: str, body: bytes, etag: str) -> None:
        self.model[key] = body
        self.etags.setdefault(key, {})[etag] = body
        assert self.store.get(key).etag == etag

    @rule(key=KEYS, body=BODIES)
    def put(self, key: str, body: bytes) -> None:
        self._wrote(key, body, self.store.put(key, body))

    @rule(key=KEYS, body=BODIES)
    def create(self, key: str, body: bytes) -> None:
        if key in self.model:
            with pytest.raises(Refused):
                self.store.put(key, body, if_absent=True)
        else:
            self._wrote(key, body, self.store.put(key, body, if_absent=True))

    @rule(key=KEYS, body=BODIES, data=st.data())
    def swap(self, key: str, body: bytes, data: st.DataObject) -> None:
        known = sorted(self.etags.get(key, {}))
        if not known:
            return
        etag = data.draw(st.sampled_from(known))
        if self.model.get(key) == self.etags[key][etag]:
            self._wrote(key, body, self.store.put(key, body, if_match=etag))
        else:
            with pytest.raises(Refused):
                self.store.put(key, body, if_match=etag)

    @rule(key=KEYS, body=BODIES)
    def upload(self, key: str, body: bytes) -> None:
        path = self.folder / "to-upload"
        path.write_bytes(body)
        self.store.upload(key, path)
        self._wrote(key, body, self.store.get(key).etag)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def head(self, key: str) -> None:
        if key not in self.model:
            with pytest.raises(NotFound):
                self.store.head(key)
            return
        info = self.store.head(key)
        assert (info.key, info.size) == (key, len(self.model[key]))
        self.seen[key] = info, self.model[key]

    @rule(key=KEYS)
    def download(self, key: str) -> None:
        """The version that was seen, or none."""
        if key not in self.seen:
            return
        info, body = self.seen[key]
        target = self.folder / "downloaded"
        try:
            digest = self.store.download(info, target)
        except NotFound:
            assert key not in self.model
        except Changed:
            assert key in self.model
        else:
            assert target.read_bytes() == body == self.model[key]
            assert digest == hashlib.sha256(body).hexdigest()

    @rule(prefix=PREFIXES, after=st.one_of(st.just(""), KEYS))
    def listing(self, prefix: str, after: str) -> None:
        expected = [
            key for key in sorted(self.model, key=str.encode)
            if key.startswith(prefix) and key.encode() > after.encode()
        ]  # fmt: skip
        listed = list(self.store.list(prefix, start_after=after))
        assert [info.key for info in listed] == expected
        assert [info.size for info in listed] == [len(self.model[key]) for key in expected]

    @invariant()
    def everything_is_there(self) -> None:
        for key, body in getattr(self, "model", {}).items():
            found = self.store.get(key)
            assert found.body == body
            assert self.etags[key][found.etag] == body


class AMemoryStore(AStore):
    make = staticmethod(lambda folder: MemoryStore(VirtualClock()))


class AFolderStore(AStore):
    make = staticmethod(lambda folder: FolderStore(folder / "bucket", SystemClock(), settle_seconds=0))


@pytest.mark.parametrize("machine", [AMemoryStore, AFolderStore])
def test_any_sequence_of_requests(machine: type[AStore], long: bool) -> None:
    """Whatever is asked of it in whatever order, a store answers as a dictionary with conditions would."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=2000 if long else 100,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=not long,
        ),
    )
