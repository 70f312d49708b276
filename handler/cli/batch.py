"""``dropscribe submit --batch``: the batch file for recordings that were just uploaded, and what became of its members.
And batch files that people submit, looked through before they are.

Takes keys and a name; writes one object. Knows nothing of how a batch is worked on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handler.batches.lines import MAX_BYTES, read_lines
from handler.cli.bucket import Bucket
from handler.cli.follow import Ended
from handler.clock import Clock
from handler.errors import BadBatch, Usage
from handler.layout import BATCH_SUFFIX, is_batch
from handler.types import BatchMember, BatchResult, Source


def batch_key(name: str, prefix: str, clock: Clock) -> str:
    """The key of a batch called ``name``; a new one without a name. `Usage`."""
    if Path(name).is_file():
        raise Usage(
            f"--batch takes {name} for the batch's name", "Put --batch last, or name the batch: --batch=monday."
        )
    stem = name.removesuffix(BATCH_SUFFIX) or f"submitted-{clock.new_id()[:12]}"
    folder = prefix.strip("/") + "/" if prefix.strip("/") else ""
    key = f"{folder}{stem}{BATCH_SUFFIX}"
    if "/" in stem or not is_batch(key):
        raise Usage(f"--batch {name!r} cannot be a batch's name", "Use letters, digits and dashes.")
    return key


def check_batches(named: Mapping[str, Path], options: Mapping[str, Any], asked: bool) -> None:
    """Batch files among what is going to be submitted, by key: `BadBatch` says which lines are wrong, as far as that
    can be told without the bucket. `Usage` where they do not go together with --option, or with --batch: ``asked``.
    """
    for key, file in named.items():
        if not is_batch(key):
            continue
        if asked:
            raise Usage(f"{file} is a batch already", "Leave out --batch.")
        if options:
            raise Usage(f"--option does not reach into the batch {file}", "Give the options in its lines.")
        if file.stat().st_size > MAX_BYTES:
            raise BadBatch(f"{file} has {file.stat().st_size:,} bytes; the limit is {MAX_BYTES:,}", "Divide it.")
        read_lines(file.read_bytes()).problems.refuse(str(file))


def drop_batch(bucket: Bucket, key: str, keys: Sequence[str]) -> Source:
    """Write the batch; gives the version that was made of it. The recordings must be there already, with their options:
    so each is done once, and its result lies where it would lie without a batch.
    """
    lines = [json.dumps({"key": one}, ensure_ascii=False) for one in keys]
    target = bucket.layout.input_key(key)
    bucket.store.put(target, "".join(f"{line}\n" for line in lines).encode())
    return bucket.layout.source(bucket.store.head(target))


def dropped(sources: Sequence[Source], bucket: str, where: str) -> str:
    """The line that says what was submitted to ``bucket``, and how to follow it; a batch is named."""
    batches = [source.key for source in sources if is_batch(source.key)]
    if len(batches) != 1:
        return f"{len(sources)} dropped into {where}; `dropscribe status {bucket}` shows how far they are."
    many = f"{len(sources)} dropped into {where}, of them the batch {batches[0]}"
    one = f"The batch {batches[0]} was dropped into {where}"
    follow = f"`dropscribe status {bucket} {batches[0]}` shows how far its recordings are."
    return f"{one if len(sources) == 1 else many}; {follow}"


def members_ended(bucket: Bucket, batch: Ended, sources: Sequence[Source]) -> list[Ended]:
    """How each of ``sources`` ended in a batch that has; all as the batch itself did, if that has no result."""
    layout, rows = bucket.layout, dict[str, BatchMember]()
    if batch.result is not None:
        result = BatchResult.model_validate_json(bucket.store.get(batch.result).body)
        rows = {row.key: row for row in result.members}
    ended = []
    for source in sources:
        row = rows.get(source.key)
        if row is None:
            error = layout.error_key(batch.source.key) if batch.status == "failed" else None
            ended.append(Ended(source, batch.status, batch.job_id, batch.message, None, error, False))
        else:
            ended.append(Ended(source, row.status, row.job_id or "", row.message, row.result, row.error, False))
    return ended
