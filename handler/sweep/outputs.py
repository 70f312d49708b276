"""Which results, errors and manifests are past their time, and their going. Settled markers stay: nothing is done
again.

An output goes only if it can be told whose it is: that of a recording (or a batch) that still lies there, or that a
manifest speaks of; and only if that version of it is settled, for as long as the limit says. Whatever else lies under
the prefixes is not ours to remove.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from handler.batches.plan import member_sid
from handler.errors import NotFound
from handler.layout import BATCH_SUFFIX, Layout, batch_of, is_batch, member_key
from handler.overview import read_batch_manifest, read_manifest
from handler.store.base import Info, Store
from handler.sweep.hands import Hands, delete_unchanged, store_now
from handler.sweep.limits import GRACE_SECONDS

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Owner:
    """An input and the outputs of its that are old. ``marker``: its settled marker, as listed; ``present``: whether the
    recording itself lies in the bucket; ``batch``: the one that asked for it, if that lies there.
    """

    key: str
    sid: str
    present: bool
    marker: Info | None = None
    batch: Owner | None = None
    outputs: list[Info] = field(default_factory=list)


def find(store: Store, layout: Layout, ttl: float, hands: Hands) -> list[Owner]:
    """Whose outputs go. Listings of the outputs; and, if any is old, of the inputs and the markers. A GET for each
    recording that has gone but left outputs behind.
    """
    ttl = max(ttl, GRACE_SECONDS)
    # Manifests last, here and when they go: they tell whose the others are.
    prefixes = (layout.results, layout.errors, layout.progress)
    old = list(_old(store, prefixes, ttl))
    owners = _owners(store, layout, {name for _, names in old for name in names}, hands)
    for info, names in old:
        found = [owners[name] for name in names if name in owners]
        if found:
            found[0].outputs.append(info)
            found[0].batch = found[1] if len(found) > 1 else None
    markers = _markers(store, layout, {owner.sid for owner in owners.values()}) if owners else {}
    for owner in owners.values():
        owner.marker = markers.get(owner.sid)
    now = store_now(store, markers.values())

    def past(owner: Owner) -> bool:
        return owner.marker is not None and now - owner.marker.modified > ttl

    # An open batch counts its members by their outputs.
    return [
        owner for owner in owners.values() if owner.outputs and past(owner) and (not owner.batch or past(owner.batch))
    ]


def delivered(store: Store, layout: Layout, ttl: float) -> list[Info]:
    """What tells of callbacks that are over, and was written too long ago. One listing. Those that wait stay."""
    listed = list(store.list(layout.delivered))
    now = store_now(store, listed)
    return [info for info in listed if now - info.modified > max(ttl, GRACE_SECONDS)]


def remove(store: Store, layout: Layout, owner: Owner) -> list[Info]:
    """Delete an input's old outputs; gives those that went."""
    if not _still_settled(store, layout, owner):
        return []
    gone = [info for info in owner.outputs if delete_unchanged(store, info)]
    if gone and not _still_settled(store, layout, owner):
        _unsettle(store, layout, owner)
    return gone


def _old(store: Store, prefixes: tuple[str, ...], ttl: float) -> Iterator[tuple[Info, tuple[str, ...]]]:
    """The outputs that were written too long ago, each with the keys of inputs that may own it."""
    for prefix in prefixes:
        now = 0.0
        for info in store.list(prefix):
            now = now or store_now(store, [info])
            names = _names(info.key.removeprefix(prefix))
            if names and now - info.modified > ttl:
                yield info, names


def _names(name: str) -> tuple[str, ...]:
    """Whose an output may be, nearest first: ``a/b.wav.json`` is ``a/b.wav``'s; below a batch's key, the batch's."""
    stem, dot, extension = name.rpartition(".")
    if not dot or "/" in extension:
        return ()
    parents = stem.split("/")[:-1]
    above = ("/".join(parents[:count]) for count in range(len(parents), 0, -1))
    return (stem, *(key for key in above if key.endswith(BATCH_SUFFIX)))


def _owners(store: Store, layout: Layout, names: set[str], hands: Hands) -> dict[str, Owner]:
    """Those of the named inputs that can be found: in the bucket, or in a manifest of their own."""
    owners: dict[str, Owner] = {}
    if not names:
        return owners
    for info in store.list(layout.input):
        key = info.key.removeprefix(layout.input)
        if key in names:
            owners[key] = Owner(key, layout.source(info).sid, present=True)
    absent = sorted(names - owners.keys())
    for key, sid in zip(absent, hands.map(lambda key: _told_by(store, layout, key), absent), strict=True):
        if sid is not None:
            owners[key] = Owner(key, sid, present=False)
    return owners


def _told_by(store: Store, layout: Layout, key: str) -> str | None:
    """The sid that a manifest speaks of; None without one of ours."""
    manifest = (read_batch_manifest if is_batch(key) else read_manifest)(store, layout, key)
    return manifest.source_id if manifest is not None and manifest.key == key else None


def _markers(store: Store, layout: Layout, sids: set[str]) -> Mapping[str, Info]:
    prefix = layout.settled_key("")
    return {sid: info for info in store.list(prefix) if (sid := info.key.removeprefix(prefix)) in sids}


def _still_settled(store: Store, layout: Layout, owner: Owner) -> bool:
    """Whether all is as it was listed: the same version under the key, or none, and its marker as old as before. Of a
    batch's member: the marker, and the batch.
    """
    assert owner.marker is not None
    if batch_of(owner.key) is None:
        sid = _sid_now(store, layout, owner.key)
        if sid is not None and not (owner.present and sid == owner.sid):
            return False
    elif owner.batch is not None and not _still_settled(store, layout, owner.batch):
        return False
    try:
        return store.head(owner.marker.key).modified == owner.marker.modified
    except NotFound:
        return False


def _unsettle(store: Store, layout: Layout, owner: Owner) -> None:
    """The recording was dropped again, or retried, while its old outputs went. A result that was published in those
    moments may have gone with them: without its marker it is published again, from the cache. A batch's member is
    looked at only while its batch is open.
    """
    batch_key = batch_of(owner.key)
    sids = [_sid_now(store, layout, owner.key)]
    if batch_key is not None:
        sids = [_member_now(store, layout, batch_key, owner.key), _sid_now(store, layout, batch_key)]
    if sids[0] is None:
        return
    log.warning("%s: changed while its old outputs were removed; it is published again", owner.key)
    for sid in sids:
        if sid is not None:
            store.delete(layout.settled_key(sid))


def _sid_now(store: Store, layout: Layout, key: str) -> str | None:
    try:
        return layout.source(store.head(layout.input_key(key))).sid
    except NotFound:
        return None


def _member_now(store: Store, layout: Layout, batch_key: str, key: str) -> str | None:
    """The sid of a batch's member with options, by the batch and the recording that lie there; None without them, and
    where nobody has begun the batch.
    """
    try:
        batch = layout.source(store.head(layout.input_key(batch_key)))
        recording = layout.source(store.head(layout.input_key(key.removeprefix(member_key(batch_key, "")))))
    except NotFound:
        return None
    return member_sid(store, layout, batch, recording)
