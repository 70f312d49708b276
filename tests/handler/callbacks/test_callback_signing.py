"""Signatures: made as Standard Webhooks has them, and verified by what docs/operations.md gives receivers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from callback_rig import Receiver, Scripted
from docs_rig import block
from pydantic import SecretStr

from handler.callbacks.deliveries import Deliveries
from handler.callbacks.signing import headers, parse_secrets, signature
from handler.clock import VirtualClock
from handler.errors import SettingsError
from handler.layout import Layout
from handler.settings import Settings, load_settings
from handler.store.memory import MemoryStore
from handler.types import Subscriber

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(24))).decode()
BODY = b'{"metadata":{},"results":{}}'


def snippet() -> Any:
    """The function of docs/operations.md that verifies a callback."""
    found: dict[str, Any] = {}
    exec(block("docs/operations.md", "python verify"), found)
    return found["verified"]


def signed(secret: str) -> dict[str, str]:
    """The headers of a delivery that is signed with these secrets, made by the whole way there."""
    clock, network = VirtualClock(), Scripted()
    store = MemoryStore(clock)
    settings = Settings(callback_secret=SecretStr(secret))
    layout = Layout.of(store.url, settings)
    store.drop("results/a.wav.json", BODY)
    deliveries = Deliveries(store, layout, settings, clock, worker="one", send=network.send)
    subscriber = Subscriber(sid="5" * 64, key="a.wav", queued_at="", callback="https://hooks.example/")
    made = deliveries.make(subscriber, "r-1", "results/a.wav.json", BODY, clock.time())
    assert made is not None
    deliveries.deliver(*made)
    return network.sent[0].headers


def test_a_known_signature() -> None:
    """The signature of a known message is that which other implementations of Standard Webhooks make."""
    [key] = parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_documented_check_accepts_ours() -> None:
    """What the documents give receivers accepts a delivery as it is sent, with each of two secrets while one goes."""
    verified = snippet()
    found = signed(f"{SECRET} {OTHER}")
    now = int(found["webhook-timestamp"])
    assert verified(SECRET, found, BODY, now=now)
    assert verified(OTHER, found, BODY, now=now + 200)
    assert verified(OTHER, signed(OTHER), BODY, now=now)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp", "webhook-signature", "secret", "late"])
def test_the_documented_check_refuses_others(change: str) -> None:
    """It refuses another body, id, time, signature or secret, and what comes too late."""
    verified, found, body, secret = snippet(), signed(SECRET), BODY, SECRET
    now = int(found["webhook-timestamp"])
    if change == "body":
        body += b" "
    elif change == "secret":
        secret = OTHER
    elif change == "late":
        now += 301
    elif change == "webhook-timestamp":
        found[change] = str(now + 1)
    else:
        found[change] += "x"
    assert not verified(secret, found, body, now=now)


def test_over_the_wire() -> None:
    """What a receiver gets verifies: nothing on the way changes a byte that was signed."""
    sent = headers(parse_secrets(SECRET), "r-1", 1_700_000_000, BODY)
    with Receiver() as receiver:
        assert receiver.transport().send(receiver.url(), "POST", BODY, sent).delivered
        [got] = receiver.received
    assert snippet()(SECRET, got.headers, got.body, now=1_700_000_100)


def test_nothing_is_signed_without_a_secret() -> None:
    """Without a secret there is no signature that a receiver could mistake for one."""
    assert set(headers((), "r-1", 1, BODY)) == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    "secret",
    ["hunter2", "whsec_", "whsec_aHVudGVyMg==", "whsec_%%%", SECRET[6:], f"{SECRET} hunter2", "whsec_" + "A" * 120],
)
def test_secrets_that_cannot_be(secret: str) -> None:
    """A secret in another form, or too short to be one, is refused when the worker starts, without being shown."""
    with pytest.raises(SettingsError, match="DROPSCRIBE_CALLBACK_SECRET") as refused:
        parse_secrets(secret)
    assert "hunter2" not in refused.value.message + refused.value.hint
    assert secret not in repr(load_settings(callback_secret=secret))
