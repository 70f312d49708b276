"""Recordings that ask for a callback, and what of it lies in the bucket."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from callback_rig import Receiver, Scripted
from worker_rig import Rig

from handler.callbacks.courier import Courier

SPEECH = b"somebody talks"

HOOK = "https://hooks.example/transcripts"


def ask(rig: Rig, key: str, body: bytes = SPEECH, url: str = HOOK, **options: Any) -> None:
    """Drop a recording whose options name a callback."""
    rig.drop(f"{key}.options.json", json.dumps({"callback": url, **options}).encode())
    rig.drop(key, body)


def inline(network: Scripted) -> Any:
    """A courier without threads and without a network."""
    return partial(Courier, transport=network, side_by_side=0)


def pending(rig: Rig) -> list[str]:
    return rig.keys(rig.layout.pending)


def delivered(rig: Rig) -> list[Any]:
    return [rig.json(key) for key in rig.keys(rig.layout.delivered)]


def allow(receiver: Receiver) -> str:
    return f"127.0.0.1:{receiver.port}"
