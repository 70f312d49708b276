"""The webhook receiver as a source, over HTTP on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from queue_rig import told

from handler.clock import SystemClock, VirtualClock
from handler.errors import Usage
from handler.listen import Inbox, Webhook
from handler.store.opening import event_keys

NEVER = threading.Event()
TOKEN = "only-minio-knows"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook("127.0.0.1", 0, event_keys("s3://b"), SystemClock(), token=TOKEN)
    yield made
    made.close()


def post(webhook: Webhook, body: str | bytes, token: str | None = TOKEN, method: str = "POST", **headers: str) -> int:
    """The status of one request."""
    connection = http.client.HTTPConnection(*webhook.address, timeout=10)
    try:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = body.encode() if isinstance(body, str) else body
        connection.request(method, "/", body=data, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def keys(webhook: Webhook, seconds: float = 0.0) -> list[str]:
    return [key for notice in webhook.wait(seconds, NEVER) for key in notice.keys]


def test_a_post_wakes_the_worker(webhook: Webhook) -> None:
    """A worker that waits hears of a post as soon as it has been answered, each key once."""
    heard: list[str] = []
    waiting = threading.Thread(target=lambda: heard.extend(keys(webhook, 20)))
    waiting.start()
    assert post(webhook, told("input/a b.wav", "input/a b.wav")) == 200
    waiting.join(10)
    assert heard == ["input/a b.wav"]


def test_minios_own_form(webhook: Webhook) -> None:
    """What MinIO posts is understood."""
    recorded: Any = json.loads((Path(__file__).parents[1] / "data" / "events" / "minio.json").read_bytes())
    assert post(webhook, json.dumps(recorded["body"])) == 200
    expected = [key for bucket, key, *removed in recorded["events"] if bucket == "b" and not any(removed)]
    assert expected
    assert keys(webhook) == expected


def test_removals_and_other_buckets_are_no_work(webhook: Webhook) -> None:
    """What needs nothing done is answered with 200, so that the sender goes on, and wakes nobody."""
    assert post(webhook, told("input/a.wav", name="s3:ObjectRemoved:Delete")) == 200
    assert post(webhook, told("input/a.wav", bucket="theirs")) == 200
    assert keys(webhook) == []


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "ü"])
def test_the_token_is_needed(webhook: Webhook, token: str | None) -> None:
    """Who does not know the token is refused, and heard of nothing."""
    assert post(webhook, told("input/a.wav"), token if token is None else token.encode().decode("latin-1")) == 401
    assert keys(webhook) == []


@pytest.mark.parametrize("header", [TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}"])
def test_the_token_must_be_a_bearer_token(webhook: Webhook, header: str) -> None:
    """The token counts as a bearer token alone."""
    assert post(webhook, told("input/a.wav"), None, Authorization=header) == 401


def test_the_token_is_in_no_log(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the right token nor a wrong one is logged, not even for who debugs."""
    with caplog.at_level("DEBUG"):
        post(webhook, told("input/a.wav"))
        post(webhook, "nonsense")
        post(webhook, told("input/a.wav"), "another-secret")
    assert TOKEN not in caplog.text
    assert "another-secret" not in caplog.text
    assert "nonsense" not in caplog.text or "not JSON" in caplog.text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * ((1 << 20) + 1), {}, 413),
        ("", {"Content-Length": "9" * 30}, 413),
        ("", {"Content-Length": "-1"}, 411),
        ("", {"Content-Length": "two"}, 411),
    ],
)
def test_what_is_no_post_of_events(webhook: Webhook, body: str | bytes, headers: dict[str, str], status: int) -> None:
    """What cannot be read whole is refused with a status that says why, and the receiver goes on."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may hang up while a large body is sent
        assert post(webhook, body, **headers) == status
    assert post(webhook, told("input/a.wav")) == 200


@pytest.mark.parametrize("body", ["nonsense", "[]", '{"Records":[{}]}', b"\xff\xfe", b"\0"])
def test_poison_blocks_no_sender(webhook: Webhook, body: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A post that no form fits is accepted and passed over, with a line in the log: MinIO sends a refused one again and
    again, and nothing behind it.
    """
    assert post(webhook, body) == 202
    assert "passed over" in caplog.text
    assert keys(webhook) == []


@pytest.mark.parametrize("body", ["", "{}", " {}\n"])
def test_a_senders_ping(webhook: Webhook, body: str, caplog: pytest.LogCaptureFixture) -> None:
    """The empty posts with which senders try out an address are accepted, without a word; the token is needed."""
    assert post(webhook, body) == 202
    assert post(webhook, body, "wrong") == 401
    assert not caplog.records


def test_a_token_that_is_not_ascii() -> None:
    """A token is compared byte by byte, whatever its letters."""
    webhook = Webhook("127.0.0.1", 0, event_keys("s3://b"), SystemClock(), token="schlüssel")
    try:
        assert post(webhook, told("input/a.wav"), "schlüssel".encode().decode("latin-1")) == 200
        assert post(webhook, told("input/a.wav"), "schlüssel") == 401  # as Latin-1
    finally:
        webhook.close()


def test_several_posts_over_one_connection(webhook: Webhook) -> None:
    """A sender may keep its connection, also after a post that was passed over."""
    connection = http.client.HTTPConnection(*webhook.address, timeout=10)
    try:
        for body, status in ((told("input/a.wav"), 200), ("nonsense", 202), (told("input/b.wav"), 200)):
            connection.request("POST", "/", body=body, headers={"Authorization": f"Bearer {TOKEN}"})
            response = connection.getresponse()
            response.read()
            assert response.status == status
            assert not response.will_close
    finally:
        connection.close()
    assert keys(webhook) == ["input/a.wav", "input/b.wav"]


def test_who_hangs_up_in_the_middle_is_nobody(webhook: Webhook) -> None:
    """Half a post is no event, and no trouble."""
    with socket.create_connection(webhook.address, timeout=10) as connection:
        body = told("input/a.wav").encode()
        head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:-20])
    assert post(webhook, told("input/b.wav")) == 200
    assert keys(webhook) == ["input/b.wav"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_senders_may_look_whether_it_is_there(webhook: Webhook, method: str) -> None:
    """MinIO looks before it posts: no token is needed for that, and nothing is told."""
    assert post(webhook, "", None, method) == 200


def test_silent_clients_keep_nobody_out(webhook: Webhook) -> None:
    """However many connections are open of which nothing comes, or half a post, the next sender is heard at once; it
    is the oldest ones that are hung up on.
    """
    silent = [socket.create_connection(webhook.address, timeout=10) for _ in range(200)]
    silent[10].sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
    assert post(webhook, told("input/a.wav")) == 200
    assert keys(webhook) == ["input/a.wav"]
    for connection in silent[:100]:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    serving = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    assert len(serving) <= 80  # some may be about to end
    for connection in silent:
        connection.close()


def test_later_comes_again_and_says_so() -> None:
    """A key whose job another worker has is told again when its time has come, as one that was told before."""
    clock = VirtualClock()
    inbox = Inbox(clock)
    inbox.add(["input/a.wav"])
    [notice] = inbox.take()
    assert not notice.again
    notice.later(5)
    assert inbox.take() == []
    clock.advance(5)
    [notice] = inbox.take()
    assert notice.again


def test_a_new_event_does_not_wait_for_an_old_one() -> None:
    """Of two times for one key the earlier one counts."""
    inbox = Inbox(VirtualClock())
    inbox.add(["input/a.wav"], 60, again=True)
    inbox.add(["input/a.wav"])
    assert [notice.keys for notice in inbox.take()] == [("input/a.wav",)]


def test_what_is_handed_back_stays_here(webhook: Webhook) -> None:
    """Nobody else has these notices: they are told again when the long job is over."""
    post(webhook, told("input/a.wav", "input/b.wav"))
    webhook.hand_back(webhook.wait(0, NEVER))
    assert sorted(keys(webhook)) == ["input/a.wav", "input/b.wav"]


def test_a_storm_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand posts of one key wait once; more keys than fit are left to the scan, which is said."""
    inbox = Inbox(VirtualClock(), most=100)
    for _ in range(10_000):
        inbox.add(["input/a.wav"])
    inbox.add([f"input/{number}.wav" for number in range(200)])
    assert len(inbox.take()) == 100
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_stop_ends_the_wait(webhook: Webhook) -> None:
    """A worker that is told to stop does not wait for the next post."""
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    assert webhook.wait(600, stop) == ()


def test_an_address_in_use(webhook: Webhook) -> None:
    """An address that is taken is one clear line."""
    with pytest.raises(Usage) as caught:
        Webhook(*webhook.address, event_keys("s3://b"), SystemClock(), token=None)
    assert "cannot be listened on" in caught.value.message


def test_close_ends_it() -> None:
    """After `close`, which may be called twice, nobody is there."""
    webhook = Webhook("127.0.0.1", 0, event_keys("s3://b"), SystemClock(), token=None)
    assert post(webhook, told("input/a.wav"), None) == 200
    webhook.close()
    webhook.close()
    with pytest.raises(ConnectionRefusedError):
        post(webhook, "")
