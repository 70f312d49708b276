"""One delivery, from its object to its end: tries, waits, what makes it pointless, and what it tells nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from callback_rig import refused
from delivery_bench import BODY, NAME, OUTPUT, URL, WAITS, Bench
from hypothesis import given
from hypothesis import strategies as st

from handler.callbacks.records import sha256_of, shown
from handler.callbacks.transport import Answer


def test_delivered_at_once() -> None:
    """The very bytes go out, with the ids that receivers go by; then the bucket says so, and only that is left."""
    bench = Bench()
    assert bench.to_the_end(held=bench.made()) == []
    [sent] = bench.network.sent
    assert (sent.method, sent.path, sent.body) == ("POST", URL, BODY)
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["dropscribe-request-id"] == "r-1"
    assert sent.headers["webhook-id"] == f"r-1-{sha256_of(BODY)[:16]}"
    assert sent.headers["webhook-timestamp"] == str(int(bench.clock.time()))
    assert "webhook-signature" not in sent.headers
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.attempts, done.reason, done.sha256) == ("delivered", 1, "", sha256_of(BODY))
    assert bench.pending() is None


def test_requests_of_a_delivery() -> None:
    """Five requests when all goes well: three that read or write before the bytes go out, two that end it."""
    bench = Bench()
    held = bench.made()
    bench.to_the_end(held=held)
    assert [(call.verb, call.key.removeprefix(bench.layout.state)) for call in bench.store.calls] == [
        ("HEAD", f"callbacks/done/{NAME}.json"), ("PUT", f"callbacks/pending/{NAME}.json"), ("GET", OUTPUT),
        ("PUT", f"callbacks/done/{NAME}.json"), ("DELETE", f"callbacks/pending/{NAME}.json"),
    ]  # fmt: skip


def test_tried_again() -> None:
    """What is not accepted is tried again, so many seconds apart, and each try is written down."""
    bench = Bench(*refused(2), callback_seconds=7)
    assert bench.to_the_end(held=bench.made()) == [7, 7]
    done = bench.done()
    assert done is not None
    assert [one.outcome for one in done.tries] == ["503 Service Unavailable"] * 2 + ["200 OK"]
    assert [one.attempt for one in done.tries] == [1, 2, 3]
    assert len({sent.headers["webhook-id"] for sent in bench.network.sent}) == 1
    stamps = [int(sent.headers["webhook-timestamp"]) for sent in bench.network.sent]
    assert stamps == [stamps[0], stamps[0] + 7, stamps[0] + 14]


def test_ten_retries() -> None:
    """After ten retries, 30 s apart, it is given up, and the bucket says why."""
    bench = Bench(*refused(20))
    assert bench.to_the_end(held=bench.made()) == [30.0] * 10
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.attempts, len(bench.network.sent)) == ("given_up", 11, 11)
    assert done.reason == "11 tries failed; the last: 503 Service Unavailable"
    assert bench.pending() is None


def test_not_before_its_time() -> None:
    """Nobody tries it while its wait lasts."""
    bench = Bench(*refused(1))
    bench.by("one").deliver(NAME, bench.made())
    assert bench.by("two").deliver(NAME) == 30
    bench.clock.sleep(29)
    assert bench.by("two").deliver(NAME) == 1
    assert len(bench.network.sent) == 1


def test_hopeless_at_once() -> None:
    """An address that is refused is not tried again."""
    bench = Bench(Answer(False, "the callback's URL was refused: it is not https", hopeless=True))
    assert bench.to_the_end(held=bench.made()) == []
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.reason) == ("given_up", "the callback's URL was refused: it is not https")


@pytest.mark.parametrize("newer", [b"another result", None])
def test_what_was_replaced_is_not_sent(newer: bytes | None) -> None:
    """A result that was replaced by a newer one, or deleted, is not sent any more; neither is the newer one in its
    name.
    """
    bench = Bench()
    held = bench.made()
    if newer is None:
        bench.store.delete(OUTPUT)
    else:
        bench.store.drop(OUTPUT, newer)
    assert bench.to_the_end(held=held) == []
    assert bench.network.sent == []
    done = bench.done()
    assert done is not None
    assert done.outcome == "given_up"
    assert ("replaced" if newer else "not there") in done.reason


def test_made_once() -> None:
    """Published again, an ending makes no second delivery: neither while the first waits nor after it ended."""
    bench = Bench(*refused(1))
    held = bench.made()
    assert bench.made("two") is None
    bench.to_the_end(held=held)
    assert bench.by("two").make(WAITS, "r-1", OUTPUT, BODY, 0.0) is None
    assert bench.pending() is None


@pytest.mark.parametrize(
    "other",
    [
        {"waits": WAITS.model_copy(update={"callback": "https://other.example/"})},
        {"waits": WAITS.model_copy(update={"callback_method": "PUT"})},
        {"body": b"a newer result"},
    ],
)
def test_another_delivery_is_another_object(other: dict[str, Any]) -> None:
    """Other bytes, another address or method: an object of its own, which no end of the first one can take away."""
    bench = Bench()
    held = bench.made()
    bench.made("two", **other)
    bench.to_the_end(held=held)
    [left] = bench.store.keys(bench.layout.pending)
    assert NAME not in left


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_over_holds_no_secret() -> None:
    """The object that stays says where it went, without user, password, path and query."""
    bench = Bench(*refused(20))
    bench.to_the_end(held=bench.made())
    done = bench.done()
    assert done is not None
    assert done.url == "https://hooks.example/…"
    assert not {"hunter2", "s3cret", "me"} & set(json.loads(bench.store.peek(bench.layout.delivered_key(NAME)) or b""))
    assert b"hunter2" not in (bench.store.peek(bench.layout.delivered_key(NAME)) or b"")
    assert b"s3cret" not in (bench.store.peek(bench.layout.delivered_key(NAME)) or b"")


@given(st.text(min_size=1), st.text(), st.text(), st.integers(0, 70000))
def test_addresses_are_shown_without_secrets(user: str, password: str, query: str, port: int) -> None:
    """Whatever stands where secrets stand is not in what is shown."""
    marker = "SECRET"
    url = f"https://{user}{marker}:{password}{marker}@host.example:{port}/path/{marker}?{query}{marker}#{marker}"
    if not any(sign in user + password for sign in "/?#\\[]"):  # then it is not where secrets stand
        assert marker not in shown(url)
