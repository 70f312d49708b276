"""``dropscribe submit``: recordings into a bucket, with their options, so that no worker ever sees half of either.

Where the store keeps metadata the options ride on the recording itself, one atomic write; elsewhere they are a
sidecar, which is written first.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from rich.progress import Progress as Bars

from handler.cli.batch import batch_key, check_batches, drop_batch, dropped, members_ended
from handler.cli.bucket import Bucket, given_options, open_bucket
from handler.cli.follow import Ended, OutOfTime, follow
from handler.cli.runtime import Runtime, escaped, standard, start_log
from handler.cli.screen import cell, note, progress_bars, results, write_json
from handler.clock import Clock
from handler.errors import EXIT_FAILED, AccessDenied, NotFound, Usage
from handler.layout import SIDECAR_SUFFIX, is_batch, is_input
from handler.options import METADATA_NAME
from handler.store.base import KeepsMetadata
from handler.types import Source, canonical_json
from pipeline.errors import EmptyMedia
from pipeline.options import parse

_METADATA_BYTES = 1800  # S3 takes 2 KB of metadata, names included


@click.command("submit")
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="FILE...")
@click.option("--to", "bucket", required=True, metavar="BUCKET", help="Where to drop them.")
@click.option("--prefix", default="", metavar="FOLDER/", help="A folder under the input prefix.")
@click.option(
    "--option", "pairs", multiple=True, metavar="NAME=VALUE", help="An option of docs/options.md, for all of them."
)
@click.option(
    "--batch",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[NAME]",
    help="Have them done as one batch, with one progress and one result for all.",
)
@click.option("--wait", is_flag=True, help="Wait until they are done, and say where the results are.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: give up then (exit code 75)."
)
@standard
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    bucket: str,
    prefix: str,
    pairs: tuple[str, ...],
    batch: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Drop recordings into a bucket.

    Each keeps its file name; one that is there already is replaced and transcribed anew. With --wait the exit code is 1
    if any recording failed. A FILE whose name ends in .batch.jsonl is a batch: it asks for recordings that lie there.
    """
    start_log()
    runtime: Runtime = ctx.obj
    if timeout is not None and not wait:
        raise Usage("--timeout is of no use without --wait", "Add --wait.")
    options = given_options(pairs)
    parse(("--option", options))  # a mistake is told before anything is uploaded
    as_batch = batch_key(batch, prefix, runtime.clock) if batch is not None else None
    if not files:
        raise click.UsageError("Missing argument 'FILE...'.", ctx)
    named = keyed(files, prefix)
    check_batches(named, options, as_batch is not None)
    opened = open_bucket(bucket, runtime, make=True)
    found = earlier_options(opened, named, options)
    for path in found.values():
        note(f"{opened.where(path)} lies there from before and applies; delete it if it is not meant.")
    sources = upload(opened, named, options)
    asked = drop_batch(opened, as_batch, list(named)) if as_batch is not None else None
    document = partial(_document, opened, named, sources, found, asked)
    try:
        ended, whole = _ends(opened, sources, asked, runtime.clock, timeout) if wait else (None, None)
    except OutOfTime as error:
        if as_json:
            write_json(document(error.so_far, None) if asked is None else document(None, error.so_far[0]))
        raise
    if as_json:
        write_json(document(ended, whole))
    elif asked is not None and ended is None:
        note(f"{len(sources)} dropped as {asked.key}; `dropscribe status {bucket} {asked.key}` shows how far they are.")
    elif ended is None:
        note(dropped(sources, bucket, opened.where(opened.layout.input)))
    else:
        _tell(opened, ended)
    if ended is not None and any(one.status != "completed" or one.members_bad for one in ended):
        ctx.exit(EXIT_FAILED)


def keyed(files: Sequence[Path], prefix: str) -> dict[str, Path]:
    """Each file under its key, relative to the input prefix, batches last: what they ask for must be there before.
    `Usage`, `EmptyMedia`: nothing was uploaded yet.
    """
    folder = prefix.strip("/") + "/" if prefix.strip("/") else ""
    hidden = next((part for part in folder.split("/") if part.startswith(".")), None)
    if hidden is not None:
        raise Usage(
            f"--prefix {prefix} has the part {hidden!r}, and workers pass over what begins with a dot",
            "Give a folder under the input prefix, for example calls/today.",
        )
    named: dict[str, Path] = {}
    for file in files:
        if file.is_dir():
            raise Usage(f"{file} is a folder", f"Name the recordings in it, for example {file}/*.mp3.")
        key = folder + file.name
        if not is_input(key):
            raise Usage(
                f"{key} would be taken for no recording",
                "Dot files, options.json, speakers.json, names that end in .options.json, and what lies in a folder "
                "whose name ends in .batch.jsonl are not: give it another name.",
            )
        if key in named:
            raise Usage(
                f"{named[key]} and {file} have the same name, and one would overwrite the other",
                "Submit them under two --prefix.",
            )
        if file.stat().st_size == 0:
            raise EmptyMedia(f"{file} is empty", "Nothing was uploaded.")
        named[key] = file
    return dict(sorted(named.items(), key=lambda item: is_batch(item[0])))


def earlier_options(bucket: Bucket, named: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, str]:
    """The sidecars, by key, that lie in the bucket already and that this submit is not going to replace: they apply to
    the new recordings, too. Looked for as far as the credentials let one look.
    """
    if options and not _as_metadata(bucket, options):
        return {}
    found = {}
    for key in named:
        with contextlib.suppress(NotFound, AccessDenied):
            found[key] = bucket.store.head(bucket.layout.input_key(key + SIDECAR_SUFFIX)).key
    return found


def _as_metadata(bucket: Bucket, options: Mapping[str, Any]) -> bool:
    """Whether the options ride on the recording itself; else they are a sidecar."""
    return isinstance(bucket.store, KeepsMetadata) and len(urlencode(options, doseq=True)) <= _METADATA_BYTES


def upload(bucket: Bucket, named: Mapping[str, Path], options: Mapping[str, Any]) -> list[Source]:
    """Drop the files in; gives the versions that were made of them, in order. Store errors pass through."""
    sources = []
    with progress_bars() as bars:
        for key, file in named.items():
            _drop(bucket, key, file, options, bars)
            sources.append(bucket.layout.source(bucket.store.head(bucket.layout.input_key(key))))
    return sources


def _drop(bucket: Bucket, key: str, file: Path, options: Mapping[str, Any], bars: Bars) -> None:
    store, size = bucket.store, file.stat().st_size
    target = bucket.layout.input_key(key)
    task = bars.add_task(f"Uploading {escaped(key)}", total=size, note="")
    if isinstance(store, KeepsMetadata) and _as_metadata(bucket, options):
        metadata = {METADATA_NAME: urlencode(options, doseq=True)} if options else {}
        store.upload_described(target, file, metadata, lambda count: bars.advance(task, count))
    else:
        if options:
            store.put(target + SIDECAR_SUFFIX, canonical_json(dict(options)))
        store.upload(target, file)
    bars.update(task, completed=size, note="uploaded")


def _ends(
    bucket: Bucket, sources: Sequence[Source], batch: Source | None, clock: Clock, timeout: float | None
) -> tuple[list[Ended], Ended | None]:
    """How every recording ended, and the batch, if they are one. `OutOfTime`, of the batch then."""
    if batch is None:
        return follow(bucket, sources, clock, timeout), None
    [whole] = follow(bucket, [batch], clock, timeout)
    return members_ended(bucket, whole, sources), whole


def _document(
    bucket: Bucket,
    named: Mapping[str, Path],
    sources: Sequence[Source],
    earlier: Mapping[str, str],
    batch: Source | None,
    known: list[Ended] | None,
    whole: Ended | None,
) -> dict[str, Any]:
    """``earlier``: as `earlier_options` gives it."""
    inputs = []
    for place, (file, source) in enumerate(zip(named.values(), sources, strict=True)):
        end = known[place] if known is not None else None
        inputs.append(
            {
                "file": str(file),
                "key": source.key,
                "source_id": source.sid,
                "size": source.size,
                "status": end.status if end is not None else "queued",
                "job_id": end.job_id if end is not None else None,
                "message": end.message if end is not None else "",
                "result": bucket.where(end.result) if end is not None and end.result else None,
                "outputs": {kind: bucket.where(key) for kind, key in end.outputs} if end is not None else {},
                "error": bucket.where(end.error) if end is not None and end.error else None,
                "progress": bucket.where(bucket.layout.progress_key(source.key)),
                "earlier_options": bucket.where(earlier[source.key]) if source.key in earlier else None,
            }
        )
    document: dict[str, Any] = {"bucket": bucket.store.url, "inputs": inputs}
    if batch is not None:
        document["batch"] = {
            "key": batch.key,
            "source_id": batch.sid,
            "status": whole.status if whole is not None else "queued",
            "result": bucket.where(whole.result) if whole is not None and whole.result else None,
            "progress": bucket.where(bucket.layout.progress_key(batch.key)),
        }
    return document


def _tell(bucket: Bucket, ended: Sequence[Ended]) -> None:
    """The last lines: where the results are, on stdout; what failed, on stderr."""
    out = results()
    for one in ended:
        if one.result is not None:
            for key in (one.result, *(key for _, key in one.outputs)):
                out.print(cell(bucket.where(key)), soft_wrap=True)
    for one in ended:
        if one.status != "completed" or one.members_bad:
            where = f" ({bucket.where(one.error)})" if one.error is not None else ""
            note(f"{one.source.key} {one.status}: {one.message}{where}")


def read_result(bucket: Bucket, ended: Ended) -> dict[str, Any]:
    """The answer of a completed input, parsed."""
    assert ended.result is not None
    answer: dict[str, Any] = json.loads(bucket.store.get(ended.result).body)
    return answer
