"""Whether bytes are a Deepgram result that every known consumer takes: `check_result` for any test that has one.

Stricter than Deepgram's SDK: the SDK's model is validated strictly, then the rules are checked that it does not state
(what the Rust SDK requires, what deepgram-captions crashes on, never null, the float32 form of numbers).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from deepgram.types.listen_v1response import ListenV1Response

from tests.deepgram_clients import check_clients

METADATA = {"transaction_key", "request_id", "sha256", "created", "duration", "channels", "models", "model_info"}
WORD = {"word", "start", "end", "confidence"}
ALTERNATIVE = {"transcript", "confidence", "languages", "words", "paragraphs"}
UTTERANCE = {"start", "end", "confidence", "channel", "transcript", "words", "id"}
PARAGRAPH = {"sentences", "num_words", "start", "end"}
NO_ID = "00000000-0000-0000-0000-000000000000"
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class ContractError(AssertionError):
    """The result breaks a rule; the message says which and where."""


def check_result(result: bytes | dict[str, Any]) -> dict[str, Any]:
    """Raise `ContractError` unless ``result`` keeps the contract; returns it parsed.

    The form of numbers can be checked in bytes only.
    """
    if isinstance(result, bytes):
        result.decode("utf-8")
        result = json.loads(result, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object)
    assert isinstance(result, dict)
    _need(set(result) == {"metadata", "results"}, f"a result is metadata and results, not {sorted(result)}")
    _no_null(result, "result")
    _validate(result)
    _check_metadata(result["metadata"])
    channels = result["results"]["channels"]
    _need(
        result["metadata"]["channels"] == len(channels) >= 1,
        "metadata.channels counts the channels, of which there is one",
    )
    for channel in channels:
        _need(len(channel["alternatives"]) == 1, "each channel has one alternative")
        _check_alternative(channel["alternatives"][0])
        _check_channel(channel)
    _check_utterances(result["results"], channels)
    check_clients(result)
    return result


def _need(holds: bool, rule: str) -> None:
    if not holds:
        raise ContractError(rule)


def _validate(result: dict[str, Any]) -> None:
    """Strict, by the SDK's own model; ``created`` as a datetime, because strict mode takes no text for one."""
    created = datetime.fromisoformat(result["metadata"]["created"])
    typed = ListenV1Response.model_validate(
        {**result, "metadata": {**result["metadata"], "created": created}}, strict=True
    )
    _need(isinstance(typed, ListenV1Response), "the SDK takes it for a result")


def _check_metadata(metadata: dict[str, Any]) -> None:
    _need(set(metadata) >= METADATA, f"metadata lacks {sorted(METADATA - set(metadata))}")
    _need(metadata["transaction_key"] == "deprecated", 'transaction_key is "deprecated"')
    _need(str(UUID(metadata["request_id"])) == metadata["request_id"], "request_id is a UUID")
    _need(re.fullmatch(r"[0-9a-f]{64}", metadata["sha256"]) is not None, "sha256 is 64 hexadecimal digits")
    _need(CREATED.fullmatch(metadata["created"]) is not None, "created has milliseconds and Z")
    _need(isinstance(metadata["duration"], float) and metadata["duration"] >= 0, "duration is a float, 0 or more")
    _need(
        len(metadata["models"]) >= 1 and set(metadata["models"]) == set(metadata["model_info"]),
        "models are model_info's",
    )
    for id, info in metadata["model_info"].items():
        _need(
            str(UUID(id)) == id and set(info) == {"name", "version", "arch"},
            f"model_info[{id}] has name, version, arch",
        )
    diarizer = metadata.get("diarize_info", {"model_uuid": NO_ID, "arch": "-"})
    _need(set(diarizer) == {"model_uuid", "arch"} and bool(diarizer["arch"]), "diarize_info has model_uuid and arch")
    _need(str(UUID(diarizer["model_uuid"])) == diarizer["model_uuid"], "diarize_info.model_uuid is a UUID")
    for name in ("tags", "extra", "warnings"):
        _need(metadata.get(name) != [] and metadata.get(name) != {}, f"empty {name} are left out")
    for warning in metadata.get("warnings", ()):
        _need(set(warning) == {"parameter", "type", "message"}, "a warning has parameter, type, message")


def _check_channel(channel: dict[str, Any]) -> None:
    alternative = channel["alternatives"][0]
    _need(set(channel) <= {"alternatives", "detected_language", "language_confidence", "search"}, "a channel's keys")
    _need("detected_language" in channel or "language_confidence" not in channel, "a confidence in no language")
    languages = [word["language"] for word in alternative["words"] if "language" in word]
    if "languages" in alternative:
        _need(len(languages) == len(alternative["words"]), "with languages, every word has its language")
        counts = [languages.count(one) for one in alternative["languages"]]
        _need(set(alternative["languages"]) == set(languages) and counts == sorted(counts, reverse=True),
              "languages are those of the words, that of most words first")  # fmt: skip
    else:
        _need(not languages, "words have a language without languages")
    for found in channel.get("search", ()):
        _need(set(found) == {"query", "hits"}, "a search has query and hits")
        for hit in found["hits"]:
            _need(set(hit) == {"confidence", "start", "end", "snippet"}, "a hit lacks a key, or has one too many")
            _need(0 <= hit["start"] <= hit["end"] and 0 <= hit["confidence"] <= 1, "a hit's times and confidence")


def _check_alternative(alternative: dict[str, Any]) -> None:
    _need(set(alternative) >= {"transcript", "confidence", "words"}, "an alternative lacks a required key")
    _need(set(alternative) <= ALTERNATIVE, f"an alternative has {sorted(set(alternative) - ALTERNATIVE)}")
    words = alternative["words"]
    _check_words(words, "words")
    speakers = list(dict.fromkeys(word["speaker"] for word in words if "speaker" in word))
    _need(speakers == list(range(len(speakers))), f"speakers count up from 0 by first appearance, not {speakers}")
    _need(_squeezed(alternative["transcript"]) == _squeezed(_text(words)), "the transcript is its words")
    paragraphs = alternative.get("paragraphs")
    if paragraphs is None:
        return
    found = paragraphs["paragraphs"]
    _need(len(found) > 0 and bool(words), "no empty paragraphs")
    for one in found:
        _need(set(one) >= PARAGRAPH and len(one["sentences"]) > 0, "a paragraph lacks a required key, or sentences")
        _need(("speaker" in one) == bool(speakers), "paragraphs have speakers if words have")
        for sentence in one["sentences"]:
            _need(set(sentence) == {"text", "start", "end"}, "a sentence is text, start, end")
            _need(
                one["start"] <= sentence["start"] <= sentence["end"] <= one["end"], "a sentence lies in its paragraph"
            )
    _need(sum(one["num_words"] for one in found) == len(words), "each word is in one paragraph")
    text = "".join(sentence["text"] for one in found for sentence in one["sentences"])
    _need(_squeezed(text) == _squeezed(alternative["transcript"]), "the sentences are the transcript")


def _check_words(words: list[dict[str, Any]], where: str) -> None:
    keys = {frozenset(set(word) - {"speaker_confidence", "language"}) for word in words}
    _need(len(keys) <= 1, f"{where}: speaker and punctuated_word are in all words or in none")
    for word in words:
        _need(set(word) >= WORD, f"{where}: a word lacks {sorted(WORD - set(word))}")
        _need(
            word["word"] != "" and word["word"] == word["word"].lower().strip(),
            f"{where}: {word['word']!r} is not bare",
        )
        _need(0 <= word["start"] <= word["end"], f"{where}: {word} ends before it starts")
        _need(0 <= word["confidence"] <= 1, f"{where}: {word} has no confidence from 0 to 1")
        _need(type(word.get("speaker", 0)) is int, f"{where}: {word} has a speaker that is no integer")
    _need(all(a["start"] <= b["start"] for a, b in pairwise(words)), f"{where} are in order")


def _check_utterances(results: dict[str, Any], channels: list[dict[str, Any]]) -> None:
    if "utterances" not in results:
        return
    utterances = results["utterances"]
    for one in utterances:
        _need(set(one) >= UTTERANCE and len(one["words"]) > 0, "an utterance lacks a required key, or words")
        _check_words(one["words"], "an utterance's words")
        _need(_squeezed(one["transcript"]) == _squeezed(_text(one["words"])), "an utterance's transcript is its words")
        _need(("speaker" in one) == ("speaker" in one["words"][0]), "utterances have speakers if words have")
    starts = [one["start"] for one in utterances]
    _need(starts == sorted(starts), "utterances are in order of their start")
    ids = [one["id"] for one in utterances]
    _need(
        all(str(UUID(id)) == id for id in ids) and len(set(ids)) == len(ids), "utterances' ids are UUIDs, each its own"
    )
    for number, channel in enumerate(channels):
        words = [word for one in utterances if one["channel"] == number for word in one["words"]]
        _need(
            words == channel["alternatives"][0]["words"], f"channel {number}: each word is in one utterance, unchanged"
        )
    _need(all(0 <= one["channel"] < len(channels) for one in utterances), "an utterance's channel is one there is")


def _text(words: list[dict[str, Any]]) -> str:
    return " ".join(word.get("punctuated_word", word["word"]) for word in words)


def _squeezed(text: str) -> str:
    """Scripts without spaces are joined without them: compared is what is left."""
    return "".join(text.split())


def _no_null(value: object, where: str) -> None:
    _need(value is not None, f"{where} is null")
    for name, part in _parts(value):
        _no_null(part, f"{where}.{name}")


def _parts(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _number(text: str) -> float:
    """A float of the JSON: it must be the shortest that reads back as the same float32."""
    value = float(text)
    nearest = struct.unpack("<f", struct.pack("<f", value))[0]
    shorter = f"{nearest:.{max(1, len(_digits(text)) - 1)}g}"
    if len(_digits(text)) > 1 and not text.endswith(".0") and _same_float32(shorter, nearest):
        raise ContractError(f"{text} is not the shortest form of a float32: {shorter} is shorter")
    return value


def _digits(text: str) -> str:
    return text.partition("e")[0].lstrip("-").replace(".", "").lstrip("0")


def _same_float32(text: str, value: float) -> bool:
    return bool(struct.unpack("<f", struct.pack("<f", float(text)))[0] == value)


def _constant(text: str) -> float:
    raise ContractError(f"{text} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _need(len({name for name, _ in pairs}) == len(pairs), f"a key stands twice: {[name for name, _ in pairs]}")
    _need(
        not any(isinstance(value, float) and not math.isfinite(value) for _, value in pairs), "a number is not finite"
    )
    return dict(pairs)
