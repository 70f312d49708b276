"""What other readers of Deepgram's JSON do with a result: the Rust SDK's required fields, deepgram-captions' captions.

`check_clients` takes a parsed result and raises `ClientError` where one of them would fail. That it is valid by the
official Python SDK is `deepgram_contract`'s business.
"""

from __future__ import annotations

import re
from typing import Any

from deepgram_captions import DeepgramConverter, srt, webvtt
from deepgram_captions.converters import ConverterException
from deepgram_captions.helpers import EmptyTranscriptException

# What deepgram-rust-sdk reads a response into: src/common/batch_response.rs, release 0.14 (docs.rs/crate/deepgram).
# Its fields that are no Option must be there and of their type, or the whole response is an error. Objects nest as in
# the JSON; a type that is a list is that of the elements; what may be missing is in OPTIONAL.
WORD = {"word": str, "start": float, "end": float, "confidence": float}
REQUIRED: dict[str, Any] = {
    "metadata": {
        "request_id": "uuid", "transaction_key": str, "sha256": str, "created": str, "duration": float, "channels": int,
    },
    "results": {"channels": [{"alternatives": [{"transcript": str, "confidence": float, "words": [WORD]}]}]},
}  # fmt: skip
OPTIONAL: dict[str, Any] = {
    "metadata": {"language": str},
    "results": {
        "utterances": [
            {
                "start": float, "end": float, "confidence": float, "channel": int, "transcript": str, "words": [WORD],
                "id": "uuid",
            }
        ],
        "channels": [
            {
                "search": [
                    {"query": str, "hits": [{"confidence": float, "start": float, "end": float, "snippet": str}]}
                ],
                "detected_language": str,
                "alternatives": [
                    {
                        "paragraphs": {
                            "transcript": str,
                            "paragraphs": [
                                {
                                    "sentences": [{"text": str, "start": float, "end": float}],
                                    "num_words": int, "start": float, "end": float,
                                }
                            ],
                        },
                        "languages": [str],
                        "words": [{"speaker": int, "punctuated_word": str}],
                    }
                ],
            }
        ],
    },
}  # fmt: skip

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VTT_TIMES = re.compile(r"^(\d\d):(\d\d):(\d\d)\.(\d{1,3}) --> (\d\d):(\d\d):(\d\d)\.(\d{1,3})$", re.MULTILINE)


class ClientError(AssertionError):
    """A client would fail; the message says which and where."""


def check_clients(result: dict[str, Any]) -> None:
    check_rust(result)
    check_captions(result)


# ── deepgram-rust-sdk ────────────────────────────────────────────────────────────────────────────────────────────────


def check_rust(result: dict[str, Any]) -> None:
    """Whether serde would read it: everything required is there, and everything it knows has the type it wants."""
    _read(result, REQUIRED, "result", optional=False)
    _read(result, OPTIONAL, "result", optional=True)


def _read(value: Any, wanted: Any, where: str, *, optional: bool) -> None:
    """``optional``: what ``wanted`` names at this level may be missing; what is there, has all that it needs."""
    if isinstance(wanted, dict):
        _need(isinstance(value, dict), f"Rust: {where} is no object")
        for name, part in wanted.items():
            if name in value:
                _read(value[name], part, f"{where}.{name}", optional=optional and name in _PARTLY)
            else:
                _need(optional, f"Rust: {where} has no {name}")
    elif isinstance(wanted, list):
        _need(isinstance(value, list), f"Rust: {where} is no list")
        for place, part in enumerate(value):
            _read(part, wanted[0], f"{where}[{place}]", optional=optional)
    elif wanted == "uuid":
        _need(isinstance(value, str) and _UUID.fullmatch(value) is not None, f"Rust: {where} is no UUID")
    else:
        _need(_fits(value, wanted), f"Rust: {where} is {value!r}, no {wanted.__name__}")


# Objects of which OPTIONAL lists only the optional fields; of all others it lists what they need.
_PARTLY = {"metadata", "results", "channels", "alternatives", "words"}


def _fits(value: object, wanted: type) -> bool:
    if wanted is int:  # usize
        return type(value) is int and value >= 0
    if wanted is float:  # f64; serde takes a whole number, too
        return type(value) in (int, float)
    return type(value) is wanted


def _need(holds: bool, rule: str) -> None:
    if not holds:
        raise ClientError(rule)


# ── deepgram-captions ────────────────────────────────────────────────────────────────────────────────────────────────


def check_captions(result: dict[str, Any]) -> None:
    """Its WebVTT and SRT can be made, of every word that it looks at; of silence it says that there is none."""
    read = _words_read(result)
    spoken = any(channel["alternatives"][0]["transcript"] for channel in result["results"]["channels"])
    for name, form in (("WebVTT", webvtt), ("SRT", srt)):
        try:
            made = form(DeepgramConverter(result))
        except (ConverterException, EmptyTranscriptException) as error:
            _need(not read or not spoken, f"{name}: {type(error).__name__}, though {len(read)} words were said")
            continue
        except Exception as error:  # whatever a client trips over
            raise ClientError(f"{name}: {type(error).__name__}: {error}") from error
        _need(bool(read), f"{name}: captions of nothing")
        text = "".join(made.split())
        missing = [word for word in read if "".join(word.split()) not in text]
        _need(not missing, f"{name}: {missing[:3]} are missing")
        _need("None" not in made or any("None" in word for word in read), f"{name}: somebody is called None")
        if name == "WebVTT":
            _check_times(made)


def _words_read(result: dict[str, Any]) -> list[str]:
    """Those of the utterances; without them, those of the first channel."""
    spoken = result["results"].get("utterances") or [result["results"]["channels"][0]["alternatives"][0]]
    return [word.get("punctuated_word", word["word"]) for part in spoken for word in part["words"]]


def _check_times(made: str) -> None:
    times = _VTT_TIMES.findall(made)
    _need(bool(times), "WebVTT: no cue has times that can be read")
    for h, m, s, _, *_rest in times:
        _need(int(m) < 60 and int(s) < 60 and int(h) < 24, f"WebVTT: {h}:{m}:{s} is no time")
