"""``dropscribe cancel``: recordings that are queued or being worked on are not transcribed after all."""

from __future__ import annotations

from collections.abc import Set

import click

from handler.cancel import Cancel, Cancelled
from handler.cli.bucket import open_bucket, recording_key
from handler.cli.runtime import Runtime, escaped, standard, start_log
from handler.cli.screen import note, write_json
from handler.errors import EXIT_FAILED
from handler.job import Jobs
from handler.layout import is_batch


@click.command("cancel")
@click.argument("bucket")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, keys: tuple[str, ...], as_json: bool) -> int:
    """Do not transcribe recordings in BUCKET after all.

    Whether a recording is queued, waits for its next attempt, or is being transcribed: it is settled as cancelled.
    What runs for it is stopped at the worker's next heartbeat, unless another recording with the same bytes waits for
    it too. The recording itself stays where it is; `dropscribe retry` takes the cancelling back. Of a batch, what its
    lines ask for under options of their own is cancelled; the recordings are still transcribed, each for itself.

    Exit code 1 when a recording had completed or failed before: its result or error stands.
    """
    start_log()
    opened = open_bucket(bucket, runtime)
    cancel = Cancel(
        Jobs(opened.store, opened.layout, runtime.clock, opened.settings, f"cancel-{runtime.clock.new_id()[:8]}")
    )
    # All names are looked at before the first is cancelled.
    done = [cancel.key(key) for key in [recording_key(opened, key) for key in keys]]
    if as_json:
        write_json({"bucket": opened.store.url, "inputs": [one.model_dump(mode="json") for one in done]})
    else:
        given = {one.key for one in done}
        for one in done:
            _tell(one, given)
    return EXIT_FAILED if any(_ended(one) for one in done) else 0


def _ended(one: Cancelled) -> bool:
    return one.outcome != "cancelled" and one.was != "cancelled"


def _tell(one: Cancelled, given: Set[str]) -> None:
    """``given``: all keys that were given."""
    key = escaped(one.key)
    if one.outcome == "cancelled" and is_batch(one.key):
        rest = "Its other recordings" if len(given) > 1 else "Its recordings"
        click.echo(f"{key} is cancelled. {rest} are still transcribed, each for itself.")
    elif one.outcome == "cancelled":
        running = " What runs for it is stopped at the worker's next heartbeat." if one.was == "processing" else ""
        others = f" The job goes on for {one.others} other{'s'[: one.others != 1]}." if one.others else running
        click.echo(f"{key} is cancelled.{others}")
    elif one.outcome == "too_late":
        note(f"Too late: {one.key} has just {one.was}.")
    elif one.was == "cancelled":
        note(f"{one.key} was cancelled before.")
    else:
        note(f"{one.key} has {one.was} already: there is nothing to cancel.")
