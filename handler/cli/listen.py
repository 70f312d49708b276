"""``dropscribe listen``: a worker that is told by webhooks what is dropped into its bucket.

Takes an address; everything else is `handler.cli.work`. The token comes from the environment alone, because a command
line can be read by everybody on the machine.
"""

from __future__ import annotations

import ipaddress
import logging
import re

import click

from handler.cli.bucket import Bucket
from handler.cli.runtime import Runtime, standard
from handler.cli.work import be_a_worker, worker_options
from handler.clock import Clock
from handler.errors import Usage
from handler.listen import Webhook
from handler.source import Source
from handler.store.opening import event_keys

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]]+)):(\d{1,5})")


@click.command("listen")
@click.argument("bucket")
@click.option("--address", metavar="HOST:PORT", default="127.0.0.1:9980", show_default=True, help="Where to listen.")
@worker_options
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, address: str, model: str | None, name: str | None, as_json: bool) -> None:
    """Be a worker that MinIO's webhooks tell what is dropped into BUCKET.

    MinIO posts to http://HOST:PORT/. Posts must carry `Authorization: Bearer TOKEN`, with the token in
    DROPSCRIBE_LISTEN_TOKEN; without one it listens on the loopback interface only. All else is as with `work`.
    """

    def source(opened: Bucket) -> Source:
        return _webhook(address, opened, runtime.clock)

    be_a_worker(runtime, bucket, source, drain=False, model=model, name=name, as_json=as_json)


def _webhook(address: str, bucket: Bucket, clock: Clock) -> Source:
    translate = event_keys(bucket.store.url)
    host, port = _parts(address)
    secret = bucket.settings.listen_token
    token = secret.get_secret_value().strip() if secret is not None else ""
    if not token and not _is_loopback(host):
        raise Usage(
            f"{address} can be reached from elsewhere, and anybody could post to it",
            "Set DROPSCRIBE_LISTEN_TOKEN, or listen on 127.0.0.1.",
        )
    webhook = Webhook(host, port, translate, clock, token=token or None)
    where, bound = webhook.address
    log.info("listening on %s, port %d, %s", where, bound, "for posts with the token" if token else "without a token")
    return webhook


def _parts(address: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found[3]) > 65_535:
        raise Usage(f"--address {address!r} is no HOST:PORT", "For example 127.0.0.1:9980, or [::1]:9980.")
    return found[1] or found[2], int(found[3])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False
