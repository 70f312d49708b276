"""A queue of bucket events as a `Source`.

Takes the connection to an SQS queue; gives notices of the bucket's own keys. A message is deleted only after the
worker said that every key in it is settled. Messages that no form of event fits go to the queue's dead-letter queue,
with the reason. Knows nothing of jobs: attempts are counted in the job's record, never by receives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from handler.clock import Clock
from handler.events import NotAnEvent, ObjectEvent, parse_events
from handler.receives import LAST_SECONDS, OneAhead, Receive, created_keys
from handler.source import Translate
from handler.sqs import BATCH, LONGEST_HOLD, Received, Sqs, open_sqs, told

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2  # how often a waiting worker looks whether it was told to stop
_GRACE_SECONDS = 1.0  # for the answer to a receive whose time is over
_OTHERS_SECONDS = 30  # until a message about another bucket shows up again
_TROUBLE_SECONDS = 1.0  # pause after a receive that failed; doubles with each, up to
_MOST_TROUBLE_SECONDS = 60.0


@dataclass(slots=True)
class Message:
    """See `handler.source.Notice`. ``received`` and ``shown`` are on this machine's monotonic clock: when it was asked
    for, and when its being hidden was last asked for.
    """

    queue: SqsQueue
    raw: Received
    keys: tuple[str, ...]
    received: float
    shown: float
    handled: bool = field(default=False)  # by the queue itself: nothing is left to be answered
    spent: bool = field(default=False)  # it was held as long as SQS allows

    @property
    def again(self) -> bool:
        return self.raw.receives > 1

    def done(self) -> None:
        self.queue._settle(self)

    def later(self, seconds: float) -> None:
        self.queue._show_later(self, seconds)

    def extend(self) -> None:
        self.queue._extend(self)


class SqsQueue:
    """``visibility``: seconds that a message is hidden after its receipt and after each `Message.extend`. ``inline``:
    receive in the caller's thread, for virtual time.
    """

    def __init__(
        self, sqs: Sqs, translate: Translate, clock: Clock, *, visibility: float, inline: bool = False
    ) -> None:
        self._sqs = sqs
        self._translate = translate
        self._clock = clock
        self._visibility = int(max(1.0, min(visibility, LONGEST_HOLD)))
        self._inline = inline
        self._under_way: Receive | None = None
        self.prefetch = OneAhead(sqs, translate, clock, visibility=self._visibility, inline=inline)
        self._settled: list[Message] = []
        self._most = 1  # messages in the next receive
        self._trouble = 0.0
        self._others: set[str] = set()  # buckets that messages spoke of
        self._closed = False

    # ── the worker's side ────────────────────────────────────────────────────────────────────────────────────────────

    def wait(self, seconds: float, stop: threading.Event) -> Sequence[Message] | None:
        """As `Source.wait`, in as many receives as it takes. Messages about other buckets are no notices: each comes
        back as long as nobody reads it, and a drain must end all the same.
        """
        until = self._clock.monotonic() + seconds
        while True:
            found = self._wait(max(0.0, until - self._clock.monotonic()), stop)
            if found is None or found or stop.is_set() or self._clock.monotonic() >= until:
                return found

    def _wait(self, seconds: float, stop: threading.Event) -> Sequence[Message] | None:
        """What one receive brings; one that was begun before its time comes first."""
        until = self._clock.monotonic() + seconds + _GRACE_SECONDS
        receive = self._under_way or self.prefetch.take()
        if receive is None:
            receive = Receive(self._sqs, self._clock, seconds, self._most, self._visibility).start(inline=self._inline)
        self._under_way = receive
        self.flush()  # while the next ones are on their way
        while not receive.over.wait(_LOOK_SECONDS):
            if stop.is_set():
                return ()
            if self._clock.monotonic() >= until:
                return None
        if stop.is_set():  # `close` gives back what it brought
            return ()
        self._under_way = None
        if receive.error is not None:
            log.error("queue: %s", told(receive.error))
            self._trouble = min(max(2 * self._trouble, _TROUBLE_SECONDS), _MOST_TROUBLE_SECONDS)
            self._clock.wait(stop, self._trouble)
            return None
        self._trouble = 0.0
        return self._notices(receive)

    def hand_back(self, notices: Sequence[Message]) -> None:
        self._most = 1  # where jobs are long, a second message would only be received in vain
        self.flush()  # it may be long until the next `wait`
        self._sqs.show([notice.raw.receipt for notice in notices if not notice.handled], 0)

    def flush(self) -> None:
        """Delete what is settled."""
        settled, self._settled = self._settled, []
        if settled:
            self._sqs.delete([message.raw.receipt for message in settled])

    def close(self) -> None:
        """Delete what is settled; give back what a receive under way still brings, if it does so in a moment. One that
        goes on is left to itself: what it brings later is hidden for its time, unless the process lives on, and then
        told again.
        """
        if self._closed:
            return
        self._closed = True
        self.prefetch.let_go()
        self.flush()
        receive, self._under_way = self._under_way, None
        if receive is None:
            self._sqs.close()
            return
        receive.over.wait(LAST_SECONDS)
        receive.abandon(self._give_back)

    def _give_back(self, messages: list[Received]) -> None:
        if messages:
            self._sqs.show([message.receipt for message in messages], 0)
        self._sqs.close()

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _notices(self, receive: Receive) -> Sequence[Message] | None:
        """What the messages say, of our own keys. The next receive may bring twice as many, unless this one leads to
        something long.
        """
        if self._clock.monotonic() - receive.shown >= self._visibility:
            # The worker was busy elsewhere, and others have had them since.
            return None
        if receive.messages:
            self._most = min(BATCH, 2 * self._most)
        read = [self._read(message, receive) for message in receive.messages]
        return [message for message in read if message is not None]

    def _read(self, raw: Received, receive: Receive) -> Message | None:
        """A message that is put away here is a notice, too, of no keys: who drains must know that there was one. None
        for one that is left to others.
        """
        message = Message(self, raw, (), receive.asked, receive.shown)
        try:
            events = parse_events(raw.body)
        except NotAnEvent as error:
            self._sqs.put_away(raw, error.message)
            message.handled = True
            return message
        if events and all(self._translate(event.bucket, event.key) is None for event in events):
            self._leave(raw, events[0])
            return None
        message.keys = created_keys(events, self._translate)
        return message

    def _leave(self, message: Received, event: ObjectEvent) -> None:
        # Theirs to take. The queue's own redrive policy ends it if nobody does.
        level = logging.DEBUG if event.bucket in self._others else logging.WARNING
        self._others.add(event.bucket)
        log.log(level, "queue: messages about the bucket %s, not this worker's, are left for others", event.bucket)
        self._sqs.show([message.receipt], min(_OTHERS_SECONDS, self._visibility))

    # ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, message: Message) -> None:
        if not message.handled:
            self._settled.append(message)
        if len(self._settled) >= BATCH:
            self.flush()

    def _show_later(self, message: Message, seconds: float) -> None:
        """The more often it has been received, the later: a job of hours must not be asked for every five seconds."""
        if seconds > 0:
            seconds = max(seconds, min(self._visibility, 2.0 ** min(message.raw.receives, 20)))
        self._sqs.show([message.raw.receipt], max(0, min(-int(-seconds // 1), self._left(message))))

    def _left(self, message: Message) -> int:
        """Whole seconds that the message may be hidden from now on."""
        return int(LONGEST_HOLD - (self._clock.monotonic() - message.received)) - 1

    def _extend(self, message: Message) -> None:
        now, left = self._clock.monotonic(), self._left(message)
        if message.spent or now - message.shown < self._visibility / 4:
            return
        message.shown = now
        if left < self._visibility:
            message.spent = True
            log.warning(
                "queue: a message was held for %.0f hours, the most that SQS allows; its job goes on under its lease",
                LONGEST_HOLD / 3600,
            )
        if left > 0:
            self._sqs.show([message.raw.receipt], min(self._visibility, left))


def open_queue(name: str, translate: Translate, clock: Clock, *, visibility: float) -> SqsQueue:
    """The queue that a person means: its URL, or its name. `Usage`, `AccessDenied`, `Unavailable`."""
    return SqsQueue(open_sqs(name), translate, clock, visibility=visibility)
