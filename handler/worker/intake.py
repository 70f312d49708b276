"""From a key in a listing to a job's identity: HEAD, options, model, content hash. Nothing is claimed here.

The recording is downloaded only when nobody has hashed this version of it before and the store does not vouch for a
hash.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from handler.answers import Identity
from handler.clock import Clock
from handler.errors import NotFound, TooLarge
from handler.layout import Layout
from handler.models.library import Library
from handler.options import OptionsFinder
from handler.settings import Settings
from handler.store.base import Info, Store
from handler.store.swap import Conflict, put_record
from handler.types import Content, Source, Subscriber
from handler.watch import Asked
from handler.worker.beside import Beside, answered
from handler.worker.recording import Hand, Recording, bring
from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.errors import EmptyMedia
from pipeline.formats.times import iso_time
from pipeline.options import OF_ONE_INPUT, Options, Parsed
from pipeline.plan import job_digest
from pipeline.types import Frozen

log = logging.getLogger(__name__)


class SourceRecord(Frozen):
    """``sources/<sid>.json``: the content's hash, so that no version of an input is hashed twice."""

    format: Literal[1] = 1
    sid: str
    key: str
    sha256: str
    size: int
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Noticed:
    """An input as it is now. ``info`` comes from a HEAD, so it has the object's metadata and the store's time."""

    info: Info
    source: Source
    subscriber: Subscriber  # without what the options add
    asked: Asked | None = None  # by a batch
    at: float = 0.0  # this machine's monotonic seconds of the HEAD

    @property
    def sid(self) -> str:
        """The input's: `Source.sid` names the recording, which may be several inputs."""
        return self.subscriber.sid

    def store_time(self, clock: Clock) -> float:
        """The store's epoch seconds now: a download may have taken long since the HEAD."""
        return self.info.store_time + clock.monotonic() - self.at


@dataclass(frozen=True, slots=True)
class Work:
    """A job's identity, and the recording when it had to be downloaded to learn it."""

    identity: Identity
    options: Options
    model: Model
    companions: Companions
    subscriber: Subscriber
    recording: Recording | None
    hashed: Future[None]  # over when everybody can know the content's hash


class Intake:
    """``go_on`` is called again and again while a recording is downloaded; what it raises ends that. ``hand``: where
    one may lie that was fetched ahead.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        clock: Clock,
        settings: Settings,
        scratch: Path,
        go_on: Callable[[], None],
        beside: Beside,
        hand: Hand,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._settings = settings
        self._scratch = scratch
        self._go_on = go_on
        self._beside = beside
        self._hand = hand
        self._finder = OptionsFinder(store, layout, clock)
        self._library = Library(settings, clock, check=go_on)

    def known(self, sid: str) -> Content | None:
        """What somebody learned of this version of an input before; None also when that is unreadable."""
        try:
            found = self._store.get(self._layout.source_key(sid))
        except NotFound:
            return None
        try:
            record = SourceRecord.model_validate_json(found.body)
        except ValidationError:
            log.warning("sources/%s is unreadable: the recording is hashed again", sid)
            return None
        return Content(sha256=record.sha256, size=record.size)

    def settled(self, sid: str) -> bool:
        """Whether this version of an input is done with."""
        try:
            self._store.head(self._layout.settled_key(sid))
        except NotFound:
            return False
        return True

    def notice(self, key: str, asked: Asked | None = None) -> Noticed:
        """HEAD before believing anything. ``asked``: by a batch, of the version that a listing showed. `NotFound` when
        the input is gone, `AccessDenied`.
        """
        return self._noticed(self._store.head(key), asked)

    def unread(self, listed: Info, asked: Asked | None = None) -> Noticed:
        """An input that may be listed but not read: all that can be known of it, to say so."""
        return self._noticed(dataclasses.replace(listed, store_time=self._clock.time()), asked)

    def _noticed(self, info: Info, asked: Asked | None) -> Noticed:
        source = self._layout.source(info)
        subscriber = Subscriber(sid=source.sid, key=source.key, queued_at=iso_time(source.modified))
        if asked is not None:
            since = iso_time(max(source.modified, asked.since))
            subscriber = Subscriber(sid=asked.sid, key=asked.key, member=asked.member, queued_at=since)
        return Noticed(info, source, subscriber, asked, self._clock.monotonic())

    def check(self, noticed: Noticed) -> None:
        """`EmptyMedia` and `TooLarge`, before a byte is downloaded."""
        size = noticed.info.size
        if size == 0:
            raise EmptyMedia(f"{noticed.source.key} is empty")
        if size > self._settings.max_size_bytes:
            raise TooLarge(f"{noticed.source.key} has {size:,} bytes; the limit is {self._settings.max_size_bytes:,}")

    def options(self, noticed: Noticed, present: Set[str] | None) -> tuple[Parsed, Subscriber]:
        """The input's options, and its subscriber entry with what they add to its own copy of the result.
        `OptionsError`.
        """
        asked = noticed.asked
        last = (asked.member.batch_key, asked.options) if asked is not None else None
        parsed = self._finder.find(noticed.info, present=present, last=last)
        options = parsed.options
        subscriber = noticed.subscriber.model_copy(
            update={
                "tag": tuple(options.tag),
                "outputs": options.outputs,
                "extra": dict(options.extra),
                "warnings": parsed.warnings,
                "callback": options.callback,
                "callback_method": options.callback_method,
            }
        )
        return parsed, subscriber

    def identify(self, noticed: Noticed, parsed: Parsed, subscriber: Subscriber, known: Content | None) -> Work:
        """The job this input is. ``known``: as `known` says. `ModelUnavailable`, `OptionsError`, `OutOfSpace`,
        `Changed`, `NotFound`.
        """
        model, companions = self.model(parsed.options.model), self._library.companions(parsed.options)
        content, recording, hashed = (known, None, answered(None)) if known is not None else self._content(noticed)
        jid = job_digest(content.sha256, parsed.options, model, noticed.sid, companions)
        identity = Identity(
            jid=jid,
            content=content,
            options=parsed.options.model_dump(mode="json", exclude=set(OF_ONE_INPUT)),
            model=model.model_dump(mode="json", exclude={"warnings", "folder"}),
            companions=companions.on_record(),
        )
        told = subscriber.model_copy(update={"warnings": (*model.warnings, *subscriber.warnings)})
        return Work(identity, parsed.options, model, companions, told, recording, hashed)

    def model(self, name: str | None) -> Model:
        """The catalog's answer; a job that names no model, or one of Deepgram's, gets the worker's.
        A bucket's model is brought to this machine when it is first named. `ModelUnavailable`, `OptionsError`,
        `OutOfSpace`, and what ``go_on`` raises.
        """
        return self._library.named(name)

    def recording(self, info: Info) -> Recording:
        """The recording in a file of its own: fetched ahead, or downloaded now. `OutOfSpace`, `Changed`, `NotFound`,
        and what ``go_on`` raises: then no file is left.
        """
        ahead = self._hand.take(info, self._go_on)
        return ahead or bring(self._store, self._clock, self._scratch, info, self._go_on)

    def _content(self, noticed: Noticed) -> tuple[Content, Recording | None, Future[None]]:
        info = noticed.info
        if info.sha256 is not None:
            content, recording = Content(sha256=info.sha256, size=info.size), None
        else:
            recording = self.recording(info)
            content = Content(sha256=recording.sha256, size=info.size)
        try:
            return content, recording, self._beside(partial(self._tell, noticed.source, content))
        except BaseException:
            if recording is not None:
                recording.remove()
            raise

    def _tell(self, source: Source, content: Content) -> None:
        """Write down the content's hash, so that nobody has to download this version of an input to learn it."""
        record = SourceRecord(sid=source.sid, key=source.key, sha256=content.sha256, size=content.size)
        fields = record.model_dump(mode="json", exclude={"nonce"})
        try:
            put_record(self._store, self._layout.source_key(source.sid), fields, etag=None, clock=self._clock)
        except Conflict:
            log.debug("%s: another worker hashed it too", record.key)
