"""``dropscribe sweep``: tell a queue what it was not told, and send the callbacks that are due.

Needs no engine, no model and no GPU: for a schedule (hourly, say) beside workers that scale to zero.
"""

from __future__ import annotations

import logging
import threading

import click

from handler.callbacks.courier import Courier
from handler.cli.bucket import Bucket, open_bucket
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import note, write_json
from handler.clock import Clock
from handler.store.opening import event_names


@click.command("sweep")
@click.argument("bucket")
@click.option("--queue", required=True, metavar="URL|NAME", help="The SQS queue that tells workers of BUCKET.")
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, queue: str, as_json: bool) -> None:
    """Tell a queue what it missed of BUCKET, and send callbacks.

    For a schedule, beside workers that run only while the queue has messages. It sends no more messages than there are
    unsettled recordings without one, so it may run as often as you like. Transcribes nothing.
    """
    start_log(logging.INFO)
    opened = open_bucket(bucket, runtime)
    event_names(opened.store.url)  # a folder has no queue: said before boto3 is loaded
    from handler.missed import tell_missed
    from handler.sqs import open_sqs

    sqs = open_sqs(queue)
    try:
        told = tell_missed(opened.store, opened.layout, sqs, runtime.clock)
    finally:
        sqs.close()
    _deliver(opened, runtime.clock)
    if as_json:
        write_json({"bucket": opened.store.url, **told.model_dump(mode="json")})
    else:
        note(f"{told.unsettled} not settled, {told.held} messages were in the queue, {told.sent} sent.")


def _deliver(bucket: Bucket, clock: Clock) -> None:
    """The callbacks that are due now; those that wait for their next try are the next sweep's."""
    courier = Courier(bucket.store, bucket.layout, bucket.settings, clock, worker=f"sweep-{clock.new_id()[:8]}")
    never = threading.Event()
    try:
        courier.look(now=True)
        courier.tick()
        while courier.busy():
            courier.tick()
            clock.wait(never, courier.due_in())
    finally:
        courier.close()
