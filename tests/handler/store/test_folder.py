"""What only the folder store can get wrong: paths, links, other names for the same file, foreign files, listings."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from folder_rig import ROOT, files, keys
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.clock import VirtualClock
from handler.errors import BadKey, NotFound
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore
from handler.store.tree import Tree

# ── keys and paths ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "key",
    ["/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "é" * 121, ".dropscribe/locks/00", ".dropscribe/locks"],
)
def test_keys_that_are_no_paths(folder_store: FolderStore, tmp_path: Path, key: str) -> None:
    """A key that would leave the folder, name another file, or cannot be a file name is refused, and nothing is
    written.
    """
    for if_absent in (True, False):
        with pytest.raises(BadKey) as raised:
            folder_store.put(key, b"x", if_absent=if_absent)
        assert raised.value.hint
    with pytest.raises(NotFound):
        folder_store.get(key)
    folder_store.delete(key)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_longest_component(folder_store: FolderStore) -> None:
    """240 bytes of UTF-8 are a component, 241 are not; a longer name that is there already can be read."""
    folder_store.put("in/" + "é" * 120, b"x")
    with pytest.raises(BadKey, match="240"):
        folder_store.put("in/" + "é" * 120 + "x", b"x")
    root = Path(folder_store.url.removeprefix("file://"))
    (root / "in" / ("y" * 255)).write_bytes(b"long")
    assert folder_store.get("in/" + "y" * 255).body == b"long"


@pytest.mark.parametrize("if_absent", [True, False])
def test_clashing_keys(folder_store: FolderStore, if_absent: bool) -> None:
    """`a` and `a/b` cannot both be: the second is refused with a line that names what is in the way."""
    folder_store.put("in/a", b"x")
    with pytest.raises(BadKey, match="in/a is a file"):
        folder_store.put("in/a/b/c", b"x", if_absent=if_absent)
    folder_store.put("in/d/e", b"x")
    with pytest.raises(BadKey, match="there are files in in/d/"):
        folder_store.put("in/d", b"x", if_absent=if_absent)
    with pytest.raises(NotFound):
        folder_store.get("in/d")
    folder_store.delete("in/d")
    assert keys(folder_store) == ["in/a", "in/d/e"]


@pytest.mark.parametrize("if_absent", [True, False])
def test_empty_folder_is_no_object(folder_store: FolderStore, tmp_path: Path, if_absent: bool) -> None:
    """A folder that a dead process left empty does not keep its name from being an object's."""
    (tmp_path / "bucket/in/a").mkdir(parents=True)
    folder_store.put("in/a", b"x", if_absent=if_absent)
    assert keys(folder_store) == ["in/a"]


def test_delete_removes_empty_folders(folder_store: FolderStore, tmp_path: Path) -> None:
    """The last object in a folder takes the folder with it, but never the root or a folder in it."""
    folder_store.put("in/a/b/c", b"x")
    folder_store.put("in/a/d", b"x")
    folder_store.delete("in/a/b/c")
    assert not (tmp_path / "bucket/in/a/b").exists()
    assert keys(folder_store) == ["in/a/d"]
    folder_store.delete("in/a/d")
    assert not (tmp_path / "bucket/in/a").exists()
    assert (tmp_path / "bucket/in").is_dir()


def test_links_that_lead_out(folder_store: FolderStore, tmp_path: Path) -> None:
    """What lies outside the folder is neither listed, read, written nor deleted through a link in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    folder_store.put("in/a", b"x")
    root = tmp_path / "bucket"
    (root / "in/link").symlink_to(outside / "secret")
    (root / "in/dir").symlink_to(outside)
    (root / "in/up").symlink_to("../..")
    (root / "in/self").symlink_to("self")
    (root / "in/gone").symlink_to("nothing")
    info = next(iter(folder_store.list("")))
    assert keys(folder_store) == ["in/a"]
    assert keys(folder_store, "in/dir/") == []
    for key in ("in/link", "in/dir/secret", "in/up/outside/secret", "in/self", "in/gone"):
        with pytest.raises(NotFound):
            folder_store.get(key)
        with pytest.raises(NotFound):
            folder_store.download(type(info)(key, 6, info.version, 0), tmp_path / "copy")
    with pytest.raises(BadKey, match="leads out"):
        folder_store.put("in/dir/new", b"x")
    folder_store.delete("in/dir/secret")
    assert files(outside) == ["secret"]


class Swapped(Tree):
    """Whenever a key has been resolved, somebody puts a link in place of the folder ``in/calls``."""

    def __init__(self, root: Path, outside: Path) -> None:
        super().__init__(root, lambda path: None)
        self._calls, self._outside = root / "in/calls", outside

    def find(self, key: str) -> bytes | None:
        found = super().find(key)
        self._calls.rename(self._calls.with_name("moved"))
        self._calls.symlink_to(self._outside)
        return found


@pytest.mark.parametrize("deep", ["", "more/"])
def test_a_folder_that_becomes_a_link(folder_store: FolderStore, tmp_path: Path, deep: str) -> None:
    """Who may write to the bucket's folder cannot have a worker read a file of its own user by putting a link in place
    of a folder between the look at a key and its opening.
    """
    for folder in (tmp_path / "outside", tmp_path / "bucket/in/calls"):
        (folder / deep).mkdir(parents=True)
        (folder / f"{deep}a.wav").write_bytes(b"a secret" if folder.name == "outside" else b"a recording")
    assert folder_store.get(f"in/calls/{deep}a.wav").body == b"a recording"
    folder_store._tree = Swapped(tmp_path / "bucket", tmp_path / "outside")
    with pytest.raises(NotFound):
        folder_store.get(f"in/calls/{deep}a.wav")


def warnings_of_two_listings(store: FolderStore, prefix: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        keys(store, prefix)
        keys(store, prefix)
    return [record.getMessage() for record in caplog.records]


def test_links_that_lead_out_are_told(
    folder_store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each link that leads out is named in one warning, not in one for each scan; those that stay inside in none."""
    (tmp_path / "outside").mkdir()
    folder_store.put("in/a", b"x")
    root = tmp_path / "bucket"
    (root / "in/talk.wav").symlink_to(tmp_path / "outside/talk.wav")
    (root / "in/calls").symlink_to("../../outside")
    (root / "in/all").symlink_to("..")
    (root / "in/same").symlink_to("a")
    (root / "in/gone").symlink_to("nothing")
    told = warnings_of_two_listings(folder_store, "in/", caplog)
    assert [line.partition(" is skipped: ")[0] for line in sorted(told)] == [
        str(root / "in/calls"), str(root / "in/talk.wav"),
    ]  # fmt: skip
    assert all(f"leads out of {root}" in line for line in told)


def test_a_prefix_that_leads_out_is_told(
    folder_store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link in place of the folder that is listed is named as well; a folder that is not there yet is no trouble."""
    (tmp_path / "outside/today").mkdir(parents=True)
    folder_store.put("results/a", b"x")
    (tmp_path / "bucket/in").symlink_to(tmp_path / "outside")
    for prefix in ("in/", "in/today/"):
        store = FolderStore(tmp_path / "bucket", VirtualClock())
        [told] = warnings_of_two_listings(store, prefix, caplog)
        assert told.startswith(f"{tmp_path / 'bucket/in'} is skipped: it is a link that leads out")
    assert warnings_of_two_listings(folder_store, "nowhere/", caplog) == []


# Lists a bucket without the rights of root, twice; says what it saw, and what was warned of.
UNPRIVILEGED = """
import json, logging, os, sys
from pathlib import Path
from handler.clock import SystemClock
from handler.store.folder import FolderStore

told = []
handler = logging.Handler()
handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger().addHandler(handler)
store = FolderStore(Path(sys.argv[1]), SystemClock())
list(store.list("in/open/"))  # what is imported late, is imported
if os.geteuid() == 0:
    os.seteuid(65534)
seen = [[info.key for info in store.list("in/")] for _ in range(2)]
try:
    list(store.list("in/closed/"))
except Exception as error:
    refused = type(error).__name__
print(json.dumps({"seen": seen, "told": told, "refused": refused}))
"""


def test_folders_that_may_not_be_read() -> None:
    """A folder that may not be read hides what is in it and nothing else, with one warning; asked for by its own name
    it is an error.
    """
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        root = Path(name)
        root.chmod(0o755)
        for key in ("in/a", "in/closed/b", "in/names/c", "in/open/d", "in/z"):
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(b"x")
        for folder in (root, root / "in", root / "in/open"):
            folder.chmod(0o755)
        (root / "in/closed").chmod(0o000)
        (root / "in/names").chmod(0o444)
        try:
            command = [sys.executable, "-c", UNPRIVILEGED, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        finally:
            (root / "in/closed").chmod(0o755)
            (root / "in/names").chmod(0o755)
        found = json.loads(done.stdout)
        assert found["seen"] == [["in/a", "in/open/d", "in/z"]] * 2
        assert [line.partition(" is skipped: ")[0] for line in found["told"]] == [
            str(root / "in/closed"), str(root / "in/names"),
        ]  # fmt: skip
        assert all("right to read it" in line for line in found["told"])
        assert found["refused"] == "AccessDenied"


def test_links_that_stay_inside(folder_store: FolderStore, tmp_path: Path) -> None:
    """A link to a file or folder in the bucket is followed, a circle of them only once."""
    folder_store.put("archive/a", b"x")
    root = tmp_path / "bucket"
    (root / "in").mkdir()
    (root / "in/b").symlink_to("../archive/a")
    (root / "in/old").symlink_to("../archive")
    (root / "archive/back").symlink_to("../in")
    assert keys(folder_store, "in/") == ["in/b", "in/old/a"]
    assert folder_store.get("in/b").body == b"x"
    assert folder_store.get("in/old/a").body == b"x"


def test_what_is_no_file(folder_store: FolderStore, tmp_path: Path) -> None:
    """A pipe in the folder is neither listed nor waited for."""
    folder_store.put("in/a", b"x")
    os.mkfifo(tmp_path / "bucket/in/pipe")
    assert keys(folder_store) == ["in/a"]
    with pytest.raises(NotFound):
        folder_store.get("in/pipe")


def test_names_that_are_not_utf8(folder_store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose name is not UTF-8 is skipped with one warning, not one for each scan."""
    folder_store.put("in/a", b"x")
    (tmp_path / "bucket/in" / os.fsdecode(b"b\xff.wav")).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert keys(folder_store) == ["in/a"]
        assert keys(folder_store) == ["in/a"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "UTF-8" in caplog.text


def test_locks_are_not_objects(folder_store: FolderStore, tmp_path: Path) -> None:
    """The lock files are in the bucket, and in no listing."""
    folder_store.put(".dropscribe/v1/jobs/1", b"x")
    assert list((tmp_path / "bucket/.dropscribe/locks").iterdir())
    assert keys(folder_store) == [".dropscribe/v1/jobs/1"]
    assert keys(folder_store, ".dropscribe/locks/") == []


PART = st.text("ab-./0é", min_size=1, max_size=3).filter(lambda text: text.strip("./") == text and "//" not in text)


@settings(max_examples=60, deadline=None)
@given(st.sets(PART, max_size=12), st.text("ab-/é", max_size=3), st.text("ab-/é", max_size=3))
def test_listing_is_that_of_a_sorted_map(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], prefix: str, after: str
) -> None:
    """For any keys, prefix and start, a folder lists what the store in memory lists."""
    clock = VirtualClock()
    folder, model = FolderStore(tmp_path_factory.mktemp("b"), clock), MemoryStore(clock)
    for name in sorted(names):
        try:
            folder.put(name, b"x")
        except BadKey:
            continue
        model.put(name, b"x")
    expected = [(info.key, info.modified) for info in model.list(prefix, start_after=after)]
    assert [(info.key, info.modified) for info in folder.list(prefix, start_after=after)] == expected
