"""``dropscribe cache stats``, ``cache clear`` and ``cache prune``."""

from __future__ import annotations

import sys

import click

from handler.cli.amounts import age, amount
from handler.cli.bucket import open_bucket
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import cell, duration, note, results, show, size, table, write_json
from handler.errors import Usage
from handler.shelf import Shelf, clear, survey
from handler.sweep import GRACE_SECONDS, Limits, Sweep, Swept


@click.group("cache")
def command() -> None:
    """Look at, prune, or empty the cache of finished stages."""


@command.command("stats")
@click.argument("bucket")
@standard
@click.pass_obj
def stats(runtime: Runtime, bucket: str, as_json: bool) -> None:
    """Show what the cache of BUCKET holds, and what it saved.

    Hits, misses and seconds are told by workers when they end.
    """
    start_log()
    opened = open_bucket(bucket, runtime)
    found = survey(opened.store, opened.layout)
    if as_json:
        write_json({"bucket": opened.store.url, **found.model_dump(mode="json")})
    else:
        _show(found)


@command.command("clear")
@click.argument("bucket")
@click.option("--yes", is_flag=True, help="Do not ask.")
@standard
@click.pass_obj
def clear_(runtime: Runtime, bucket: str, yes: bool, as_json: bool) -> None:
    """Delete every cached stage of BUCKET.

    Recordings, results and what is known to be done stay. A recording dropped again later is computed again.
    """
    start_log()
    opened = open_bucket(bucket, runtime)
    if not yes:
        if not sys.stdin.isatty():
            raise Usage("cache clear asks before it deletes, and there is no terminal to ask on", "Add --yes.")
        if not click.confirm(f"Delete the cached stages in {opened.store.url}?", err=True):
            raise Usage("nothing was deleted")
    done = clear(opened.store, opened.layout)
    if as_json:
        write_json({"bucket": opened.store.url, **done.model_dump(mode="json")})
    else:
        note(f"Deleted {done.references} references and {done.blobs} blobs, {size(done.bytes)}.")


@command.command("prune")
@click.argument("bucket")
@click.option("--older-than", type=age, metavar="AGE", help="Remove artifacts that nobody has used for so long: 30d.")
@click.option("--max-size", type=amount, metavar="SIZE", help="Remove the oldest until the cache is no larger: 10GB.")
@click.option("--results-older-than", type=age, metavar="AGE", help="Remove older results, errors and progress: 90d.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@standard
@click.pass_obj
def prune(
    runtime: Runtime,
    bucket: str,
    older_than: float | None,
    max_size: int | None,
    results_older_than: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove from BUCKET what is past its time or too much.

    What is not given comes from DROPSCRIBE_CACHE_TTL_SECONDS, DROPSCRIBE_CACHE_BYTES and
    DROPSCRIBE_RESULTS_TTL_SECONDS; without any, only data goes that nothing refers to. Nothing younger than a day is
    removed, no recording, and nothing that says that a recording is done.
    """
    start_log()
    opened = open_bucket(
        bucket,
        runtime,
        cache_ttl_seconds=older_than,
        cache_bytes=max_size,
        results_ttl_seconds=results_older_than,
    )
    limits = Limits.of(opened.settings)
    done = Sweep(opened.store, opened.layout).run(limits, dry_run=dry_run)
    if as_json:
        write_json({"bucket": opened.store.url, **done.model_dump(mode="json")})
    else:
        _tell(done, limits)


def _tell(done: Swept, limits: Limits) -> None:
    removed, holds = ("would be removed", "would hold") if done.dry_run else ("removed", "holds")
    lines = [f"{done.references} references and {done.blobs} blobs of the cache {removed}, {size(done.cache_bytes)}"]
    if limits.results_ttl is not None:
        lines.append(f"{done.outputs} results, errors and manifests {removed}, {size(done.output_bytes)}")
    left = f"{done.left_references} references and {done.left_blobs} blobs, {size(done.left_bytes)}"
    lines.append(f"the cache {holds} {left}")
    if any(ttl is not None and ttl < GRACE_SECONDS for ttl in (limits.cache_ttl, limits.results_ttl)):
        lines.append("what is younger than a day stays in any case")
    for line in lines:
        results().print(line, soft_wrap=True)


def _show(found: Shelf) -> None:
    out = results()
    made = table("STAGE", "ENTRIES", "SIZE", right=("ENTRIES", "SIZE"))
    for stage, share in found.stages.items():
        made.add_row(cell(stage), str(share.entries), size(share.bytes))
    made.add_row("all", str(found.entries), size(found.bytes))
    show(made)
    rate = "no stage was looked up yet" if found.hit_rate is None else f"{found.hit_rate:.0%} of the stages were hits"
    out.print(f"{found.blobs} blobs of {size(found.blob_bytes)} in all; {found.jobs} jobs, {rate}", soft_wrap=True)
    out.print(f"{found.hits} hits, {found.misses} misses, {duration(found.saved_seconds)} saved", soft_wrap=True)
