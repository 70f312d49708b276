"""Callbacks over TLS: the certificate is that of the URL's name, or nothing is sent."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from callback_rig import (
    BODY,
    SHORT,
    Receiver,
    resolving,
    stall,
)

from handler.callbacks.transport import Answer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for hooks.example, which vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def over_tls(certificate: Path, host: str, *, trusted: bool = True) -> tuple[Answer, Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def trust() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(certificate)) if trusted else ssl.create_default_context()

    with Receiver(tls=context) as receiver:
        resolve = resolving(hooks_example=["127.0.0.1"], other_example=["127.0.0.1"])
        transport = receiver.transport(resolve=resolve, trust=trust)
        return transport.send(f"https://{host}:{receiver.port}/", "POST", BODY, {}), receiver


def test_the_certificate_is_for_the_name(certificate: Path) -> None:
    """Over TLS the connection goes to the address, and the certificate must be that of the URL's name."""
    found, receiver = over_tls(certificate, "hooks.example")
    assert found.delivered
    assert receiver.received[0].body == BODY


@pytest.mark.parametrize(("host", "trusted"), [("other.example", True), ("127.0.0.1", True), ("hooks.example", False)])
def test_other_certificates(certificate: Path, host: str, trusted: bool) -> None:
    """A certificate for another name, or one that nobody vouches for, gets nothing."""
    found, receiver = over_tls(certificate, host, trusted=trusted)
    assert (found.delivered, found.hopeless) == (False, False)
    assert "certificate was not accepted" in found.outcome
    assert receiver.received == []


def test_a_handshake_that_never_ends() -> None:
    """A receiver that accepts and then says nothing, before TLS even begins, is cut off."""
    with Receiver(stall, reads=False) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        found = receiver.transport(seconds=SHORT).send(url, "POST", BODY, {})
    assert "no whole answer within" in found.outcome
