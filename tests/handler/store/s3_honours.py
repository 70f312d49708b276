"""What an S3 server honours: asked of the server itself, request by request, with a bare boto3 client.

Takes a place that is empty; gives one `Answer` for each question. Whether dropscribe needs what is asked is said with
it. Knows nothing of `handler.store`: its view of the same is the contract.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.s3_place import Place

RACERS, RACES = 8, 10
RACE = "create-if-absent: at most one of many creators wins"
WRONG_MD5 = base64.b64encode(hashlib.md5(b"other bytes", usedforsecurity=False).digest()).decode()
WRONG_SHA256 = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()


@dataclass(frozen=True)
class Answer:
    """``needed``: without it the protocol's promises do not hold. ``said``: what it was read from."""

    question: str
    needed: bool
    honoured: bool
    said: str

    def __str__(self) -> str:
        return f"{self.question:<58} {'yes' if self.honoured else 'no':<4} {self.said}{' (needed)' * self.needed}"


class Asked:
    """A client, and what it heard last."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def put(self, key: str, body: bytes = b"x", **extra: Any) -> str:
        """The status: of success, or ``412 PreconditionFailed`` and the like."""
        return self._ask(self.place.client.put_object, key, Body=body, **extra)

    def get(self, key: str, **extra: Any) -> str:
        return self._ask(self.place.client.get_object, key, **extra)

    def delete(self, key: str, **extra: Any) -> str:
        return self._ask(self.place.client.delete_object, key, **extra)

    def etag(self, key: str) -> str:
        return str(self._call(self.place.client.head_object, key)["ETag"])

    def listed(self, **extra: Any) -> list[str]:
        reply = self.place.client.list_objects_v2(Bucket=self.place.bucket, Prefix=f"{self.place.prefix}/", **extra)
        return [entry["Key"].removeprefix(f"{self.place.prefix}/") for entry in reply.get("Contents", ())]

    def whole(self, key: str) -> str:
        return f"{self.place.prefix}/{key}"

    def _call(self, call: Callable[..., Any], key: str, **extra: Any) -> Any:
        return call(Bucket=self.place.bucket, Key=self.whole(key), **extra)

    def _ask(self, call: Callable[..., Any], key: str, **extra: Any) -> str:
        from botocore.exceptions import ClientError, HTTPClientError

        try:
            reply = self._call(call, key, **extra)
            if "Body" in reply:
                reply["Body"].read()
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return f"{status} {error.response.get('Error', {}).get('Code', '')}".strip()
        except HTTPClientError as error:
            return type(error).__name__
        return str(reply["ResponseMetadata"]["HTTPStatusCode"])


def honours(place: Place) -> list[Answer]:
    asked = Asked(place)
    return [*_conditions(asked), *_race(asked), *_listing(asked), *_checksums(asked), *_reading(asked), *_unused(asked)]


def _answer(question: str, needed: bool, said: str, *wanted: str) -> Answer:
    return Answer(question, needed, said.split(" ")[0] in wanted, said)


def _conditions(asked: Asked) -> list[Answer]:
    created = asked.put("once", b"first", IfNoneMatch="*")
    again = asked.put("once", b"second", IfNoneMatch="*")
    stale = asked.etag("once")
    swapped = asked.put("once", b"third", IfMatch=stale)
    bare = asked.put("once", b"fourth", IfMatch=asked.etag("once").strip('"'))
    refused = asked.put("once", b"fifth", IfMatch=stale)
    absent = asked.put("absent", b"x", IfMatch=stale)
    either = swapped if swapped == "200" else bare
    return [
        _answer("create-if-absent: If-None-Match: * where nothing is", True, created, "200"),
        _answer("create-if-absent: refused where something is", True, again, "412"),
        _answer("compare-and-swap: If-Match, the right ETag (or unquoted)", True, either, "200"),
        _answer("    the right ETag in quotes", False, swapped, "200"),
        _answer("    the right ETag without quotes", False, bare, "200"),
        _answer("compare-and-swap: a stale ETag is refused", True, refused, "412"),
        _answer("compare-and-swap: any ETag of an absent key is refused", True, absent, "412", "404"),
    ]


def _race(asked: Asked) -> list[Answer]:
    """Threads that create the same key at the same moment: how many are told that they did."""
    gate = threading.Barrier(RACERS)
    winners: list[int] = []

    def create(key: str) -> bool:
        gate.wait()
        return asked.put(key, IfNoneMatch="*") == "200"

    with ThreadPoolExecutor(RACERS) as pool:
        for race in range(RACES):
            winners.append(sum(pool.map(create, [f"race/{race}"] * RACERS)))
    right = all(count <= 1 for count in winners)  # none may win: 409 for all is an answer, too
    said = f"winners of {RACES} races of {RACERS}: {sorted(set(winners))}"
    return [Answer(RACE, True, right, said)]


def _listing(asked: Asked) -> list[Answer]:
    names = ["l/a-b", "l/a.b", "l/a/b", "l/a0", "l/é", "l/\U0001f600"]
    seen = gone = True
    for name in reversed(names):
        asked.put(name)
        seen = seen and name in asked.listed()
    found = [name for name in asked.listed() if name.startswith("l/")]
    after = [name for name in asked.listed(StartAfter=asked.whole("l/a/b")) if name.startswith("l/")]
    for name in names:
        asked.delete(name)
        gone = gone and name not in asked.listed()
    ordered = sorted(names, key=str.encode)
    return [
        Answer("list-after-write: what was written is listed at once", True, seen, ""),
        Answer("list-after-delete: what was deleted is not", False, gone, ""),
        Answer("listings are in the order of the keys' UTF-8", True, found == ordered, ""),
        Answer("StartAfter", False, after == ordered[ordered.index("l/a/b") + 1 :], ""),
    ]


def _checksums(asked: Asked) -> list[Answer]:
    md5 = asked.put("md5", b"bytes", ContentMD5=WRONG_MD5)
    sha256 = asked.put("sha256", b"bytes", ChecksumSHA256=WRONG_SHA256)
    vouched: dict[str, Any] = {}
    right = base64.b64encode(hashlib.sha256(b"bytes").digest()).decode()
    if asked.put("vouched", b"bytes", ChecksumSHA256=right) == "200":
        vouched = asked._call(asked.place.client.head_object, "vouched", ChecksumMode="ENABLED")
    asked.put("plain", b"bytes")
    plain = asked.etag("plain").strip('"') == hashlib.md5(b"bytes", usedforsecurity=False).hexdigest()
    given = asked._call(asked.place.client.get_object, "plain", ChecksumMode="ENABLED")
    given["Body"].read()
    sums = sorted(name for name in given["ResponseMetadata"]["HTTPHeaders"] if name.startswith("x-amz-checksum-"))
    return [
        _answer("checksums: a body that is not its MD5 is refused", False, md5, "400"),
        _answer("checksums: a body that is not its SHA-256 is refused", False, sha256, "400"),
        Answer("checksums: SHA-256 is kept and given", False, vouched.get("ChecksumSHA256") == right, ""),
        Answer("checksums: with what is read", False, bool(sums), ", ".join(sums)),
        Answer("an ETag is the body's MD5", False, plain, ""),
    ]


def _reading(asked: Asked) -> list[Answer]:
    asked.put("read", b"0123456789", Metadata={"dropscribe": "language=en"})
    stale = '"' + "0" * 32 + '"'
    reply = asked._call(asked.place.client.get_object, "read")
    reply["Body"].read()
    return [
        Answer("a Date with every answer", False, "date" in reply["ResponseMetadata"]["HTTPHeaders"], ""),
        Answer("metadata", False, reply["Metadata"] == {"dropscribe": "language=en"}, ""),
        _answer("GET with If-Match: a stale ETag is refused", False, asked.get("read", IfMatch=stale), "412"),
        _answer("GET with Range", False, asked.get("read", Range="bytes=5-"), "206"),
    ]


def _unused(asked: Asked) -> list[Answer]:
    """What the protocol does without, because servers differ."""
    asked.put("deleted")
    stale = '"' + "0" * 32 + '"'
    said = asked.delete("deleted", IfMatch=stale)
    with contextlib.suppress(ValueError):
        said += ", the object is " + ("there" if "deleted" in asked.listed() else "gone")
    return [_answer("DELETE with If-Match (not used)", False, said.replace(",", " ,"), "412")]
