"""``dropscribe retry``: what was settled is unsettled, and the workers do it again."""

from __future__ import annotations

import click

from handler.cli.bucket import folder_of, open_bucket, recording_key
from handler.cli.runtime import Runtime, escaped, standard, start_log
from handler.cli.screen import note, write_json
from handler.errors import Usage
from handler.job import Jobs
from handler.retry import Retried, Retry


@click.command("retry")
@click.argument("bucket")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "every", is_flag=True, help="Every recording that is done with and still there.")
@click.option("--failed", is_flag=True, help="With --all: only those that failed.")
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, keys: tuple[str, ...], every: bool, failed: bool, as_json: bool) -> None:
    """Have recordings in BUCKET done again.

    Use it after a failure was mended, or to have a new pipeline version or changed defaults applied: neither touches
    what is done by itself. What the cache still holds is not computed again. A running worker picks them up. Of a
    batch those members are done again that failed, or were cancelled with it.
    """
    start_log()
    if bool(keys) == every:
        raise Usage("name the recordings, or say --all, but not both", "`dropscribe status BUCKET` lists the keys.")
    if failed and not every:
        raise Usage("--failed is of no use without --all", "Add --all.")
    opened = open_bucket(bucket, runtime)
    retry = Retry(
        Jobs(opened.store, opened.layout, runtime.clock, opened.settings, f"retry-{runtime.clock.new_id()[:8]}")
    )
    if every:
        done = list(retry.all(failed_only=failed))
    else:
        # All names are looked at before the first is retried.
        done = [retry.key(key) for key in [recording_key(opened, key) for key in keys]]
    if as_json:
        write_json({"bucket": opened.store.url, "inputs": [one.model_dump(mode="json") for one in done]})
    else:
        _tell(done)
        if folder_of(opened.store) is None and any(one.outcome == "retried" for one in done):
            seconds = opened.settings.reconcile_seconds
            note(f"Workers notice with their next scan; those that a queue or webhook tells, within {seconds:g} s.")


def _tell(done: list[Retried]) -> None:
    for one in done:
        if one.outcome == "not_settled":
            note(f"{one.key} is still queued or being worked on: there is nothing to retry.")
        else:
            click.echo(escaped(f"{one.key} ({one.was}) will be done again."))
    if not done:
        note("There is nothing to retry.")
