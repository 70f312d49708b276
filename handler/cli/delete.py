"""``dropscribe delete``: what was made of a recording goes; the recording itself stays."""

from __future__ import annotations

import sys

import click

from handler.cli.bucket import Bucket, open_bucket
from handler.cli.runtime import Runtime, escaped, standard, start_log
from handler.cli.screen import note, write_json
from handler.errors import NotFound, Usage
from handler.job import Jobs
from handler.layout import is_batch
from handler.remove import Remove, Removed


@click.command("delete")
@click.argument("bucket")
@click.argument("key")
@click.option("--purge", is_flag=True, help="Also what the cache keeps for this recording alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, key: str, purge: bool, yes: bool, as_json: bool) -> None:
    """Delete what was made of a recording in BUCKET.

    Its result in every form, its progress and its error. The recording itself is yours and is not touched; as long as
    it lies there it is not transcribed again, unless `dropscribe retry` asks for that. A recording that is being worked
    on is refused: cancel it first. Of a batch its own result, progress and error, and those of its lines with options.

    With --purge also the cached artifacts that nothing else which lies there uses, and, when the recording is gone,
    what is known of it. That reads every settled marker, job's record and cache reference: not for every day on
    a bucket of millions.
    """
    start_log()
    opened = open_bucket(bucket, runtime)
    remove = Remove(
        Jobs(opened.store, opened.layout, runtime.clock, opened.settings, f"delete-{runtime.clock.new_id()[:8]}")
    )
    key = _key(opened, remove, key, purge)
    if not yes:
        if not sys.stdin.isatty():
            raise Usage("delete asks before it deletes, and there is no terminal to ask on", "Add --yes.")
        if not click.confirm(f"Delete what was made of {escaped(key)} in {opened.store.url}?", err=True):
            raise Usage("nothing was deleted")
    removed = remove.key(key, purge=purge)
    if as_json:
        write_json({"bucket": opened.store.url, **removed.model_dump(mode="json")})
    else:
        _tell(removed)


def _key(bucket: Bucket, remove: Remove, name: str, purge: bool) -> str:
    keys = dict.fromkeys((name, name.removeprefix(bucket.layout.input)))
    for thoroughly in (False, purge):
        for key in keys:
            if remove.exists(key, purge=thoroughly):
                return key
    raise NotFound(
        f"there is no recording {name} in {bucket.store.url}, and nothing that was made of one",
        "`dropscribe status BUCKET` lists them.",
    )


def _tell(removed: Removed) -> None:
    for gone in removed.removed:
        click.echo(f"deleted {escaped(gone)}")
    if not removed.removed:
        note(f"There was nothing to delete for {removed.key}.")
    if removed.shared:
        note(f"{removed.shared} cached artifacts stay: another recording or a batch that lies there uses them.")
    if removed.recording and not removed.settled:
        coming = "will be worked on" if is_batch(removed.key) else "will be transcribed"
        note(f"{removed.key} is still queued and {coming}; `dropscribe cancel` prevents that.")
