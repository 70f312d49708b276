"""``dropscribe status``: a table of all recordings, or everything about one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from handler.callbacks.state import CallbackState, state_of, states
from handler.cli.bucket import Bucket, open_bucket, recording_key
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import cell, duration, results, show, size, styled, table, write_json
from handler.clock import Clock
from handler.overview import Row, one, overview
from handler.types import BatchManifest, Manifest

_LOCAL_SECONDS = 1.0
_REMOTE_SECONDS = 5.0


@click.command("status")
@click.argument("bucket")
@click.argument("key", required=False)
@click.option("--watch", is_flag=True, help="Show it again and again; for one KEY, until it is done.")
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, key: str | None, watch: bool, as_json: bool) -> None:
    """Show how far the recordings in BUCKET are.

    With KEY (as in the table) everything that is known about that one recording. With --watch and --json, one JSON
    document a line.
    """
    start_log()
    opened = open_bucket(bucket, runtime)
    if key is not None:
        key = recording_key(opened, key)
    look = _Look(opened, key, runtime.clock)
    if watch:
        _watch(look, runtime.clock, _LOCAL_SECONDS if opened.local else _REMOTE_SECONDS, as_json)
    elif as_json:
        write_json(look.document())
    else:
        show(look.picture())


class _Look:
    """One look at the bucket after another."""

    def __init__(self, bucket: Bucket, key: str | None, clock: Clock) -> None:
        self._bucket = bucket
        self._key = key
        self._clock = clock
        self.rows: Sequence[Row] = ()
        self.callbacks: Mapping[str, CallbackState] = {}  # by source id
        self._manifest: Manifest | BatchManifest | None = None

    def read(self) -> None:
        store, layout = self._bucket.store, self._bucket.layout
        if self._key is None:
            self.rows = overview(store, layout)
            self.callbacks = states(store, layout, (row.source_id for row in self.rows))
        else:
            row, self._manifest = one(store, layout, self._key)
            self.rows = [row]
            state = state_of(store, layout, row.source_id)
            self.callbacks = {row.source_id: state} if state is not None else {}

    @property
    def over(self) -> bool:
        """Nothing about it will change any more."""
        return self._key is not None and self.rows[0].settled

    def document(self) -> dict[str, object]:
        self.read()
        if self._key is None:
            counts = Counter(row.status for row in self.rows)
            inputs = [self._dumped(row) for row in self.rows]
            return {"bucket": self._bucket.store.url, "counts": dict(sorted(counts.items())), "inputs": inputs}
        manifest = self._manifest.model_dump(mode="json") if self._manifest is not None else None
        return {**self._dumped(self.rows[0]), "manifest": manifest}

    def _dumped(self, row: Row) -> dict[str, object]:
        state = self.callbacks.get(row.source_id)
        return {**row.model_dump(mode="json"), "callback": state.model_dump(mode="json") if state is not None else None}

    def picture(self) -> Group | Table | Text:
        self.read()
        if self._key is not None:
            state = self.callbacks.get(self.rows[0].source_id)
            return _details(self._bucket, self.rows[0], self._manifest, state)
        if not self.rows:
            return cell(f"There are no recordings in {self._bucket.where(self._bucket.layout.input)}.")
        counts: Counter[str] = Counter(row.status for row in self.rows)
        counts.update(f"callbacks {state.status}" for state in self.callbacks.values())
        return Group(
            _table(self.rows, self.callbacks, self._clock.time()),
            Text(", ".join(f"{n} {status}" for status, n in sorted(counts.items()))),
        )


def _watch(look: _Look, clock: Clock, pause: float, as_json: bool) -> None:
    out = results()
    if as_json or not out.is_terminal:
        while True:
            if as_json:
                click.echo(json.dumps(look.document(), ensure_ascii=False))
            else:
                show(look.picture())
            if look.over:
                return
            clock.sleep(pause)
    with Live(look.picture(), console=out, auto_refresh=False) as live:
        while not look.over:
            clock.sleep(pause)
            live.update(look.picture(), refresh=True)


def _table(rows: Sequence[Row], callbacks: Mapping[str, CallbackState], now: float) -> Table:
    made = table("KEY", "STATUS", "STAGE", "%", "ETA", "LAST NEWS", "MESSAGE", right=("%", "ETA", "LAST NEWS"))
    for row in rows:
        queued = row.position is not None
        made.add_row(
            cell(row.key),
            styled(row.status),
            cell("" if row.stage == row.status else row.stage),
            f"{row.percent:.0f}",
            duration(row.eta_seconds),
            f"{duration(_silence(row, now))} ago",
            cell(
                _told(
                    f"number {row.position} in the queue. {row.message}" if queued else row.message,
                    callbacks.get(row.source_id),
                )
            ),
        )
    return made


def _told(message: str, callback: CallbackState | None) -> str:
    """A callback that went well is no news."""
    if callback is None or callback.status == "delivered":
        return message.strip()
    return f"{message.strip().rstrip('.')}. Callback {callback.status}: {callback.message or 'not tried yet'}"


def _silence(row: Row, now: float) -> float:
    """Seconds since something was last heard of it: the manifest's, or its being dropped."""
    heard = datetime.fromisoformat(row.updated_at).timestamp() if row.updated_at is not None else float(row.modified)
    return max(0.0, now - heard)


def _details(
    bucket: Bucket, row: Row, manifest: Manifest | BatchManifest | None, callback: CallbackState | None
) -> Table:
    made = table("", "")
    made.show_header = False
    facts: list[tuple[str, object]] = [("key", row.key), ("status", row.status), ("size", size(row.size))]
    if row.stage != row.status:
        facts.append(("stage", f"{row.stage}, {row.percent:.0f} %"))
    facts.append(("queue", f"number {row.position}" if row.position is not None else None))
    facts.append(("message", row.message))
    if isinstance(manifest, BatchManifest) and row.counts is not None:
        facts += [(name, str(number)) for name, number in row.counts.model_dump().items()]
        facts += [("eta", duration(row.eta_seconds)), ("dropped", manifest.queued_at)]
        facts += [("finished", manifest.finished_at)]
    elif isinstance(manifest, Manifest) and row.updated_at is not None:  # the manifest is what the row was made from
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in manifest.timings.items())
        facts += [
            ("eta", duration(manifest.eta_seconds)),
            ("stages", stages),
            ("from the cache", ", ".join(manifest.cached_stages)),
            ("attempt", manifest.attempt),
            ("worker", manifest.worker),
            ("dropped", manifest.queued_at),
            ("finished", manifest.finished_at),
            ("job id", manifest.job_id),
            ("heard so far", (manifest.partial or {}).get("transcript") if not manifest.terminal else None),
        ]
    if row.result is not None:
        facts.append(("result", bucket.where(row.result)))
    if isinstance(manifest, Manifest):
        facts += [(kind, bucket.where(key)) for kind, key in manifest.outputs.items()]
    if callback is not None:
        tried = f"{callback.status} after {callback.attempts} tries" if callback.attempts > 1 else callback.status
        facts += [("callback", f"{tried}: {callback.message}" if callback.message else tried), ("to", callback.url)]
    if row.status == "failed":
        facts.append(("error", bucket.where(bucket.layout.error_key(row.key))))
    for name, value in facts:
        if value not in (None, ""):
            made.add_row(cell(name, "dim"), styled(str(value)) if name == "status" else cell(str(value)))
    return made
