"""``dropscribe cache stats`` and ``cache clear``."""

from __future__ import annotations

import sys

import click

from handler.cli.bucket import open_bucket
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import cell, duration, note, results, show, size, table, write_json
from handler.errors import Usage
from handler.shelf import Shelf, clear, survey


@click.group("cache")
def command() -> None:
    """Look at, or empty, the cache of finished stages."""


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
