"""What ``err_code`` an error has: Deepgram's where Deepgram has one, and the table of docs/format.md."""

from __future__ import annotations

import json

import pytest
from docs_rig import rows_under, text_of

import handler.errors
import pipeline.errors
from handler.errors import HandlerError, StoreError
from pipeline.errors import Explained, MediaError, OptionsError, PipelineError
from pipeline.formats.deepgram import error_part

# Those that Deepgram's API answers with, by its reference of errors and its SDKs' issues. The first is that of every
# request that is wrong in itself (400), the second that of a fault of the service (500).
DEEPGRAMS = {"Bad Request", "INTERNAL_SERVER_ERROR"}


def classes(base: type[Explained]) -> list[type[Explained]]:
    found = [base]
    for sub in base.__subclasses__():
        if sub.__module__ in (handler.errors.__name__, pipeline.errors.__name__):
            found += classes(sub)
    return found


ALL = [cls for cls in (*classes(PipelineError), *classes(HandlerError)) if cls not in (PipelineError, HandlerError)]


@pytest.mark.parametrize("cls", ALL)
def test_every_error_is_a_whole_error_object(cls: type[Explained]) -> None:
    """Whatever goes wrong, errors/<key>.json has Deepgram's three fields and ours: none empty, none null."""
    raw = error_part(cls("it broke", "mend it").to_detail(), request_id="r", key="k", attempts=2)
    error = json.loads(raw)
    assert list(error)[:3] == ["err_code", "err_msg", "request_id"]
    assert (error["err_msg"], error["request_id"], error["class"]) == ("it broke", "r", cls.__name__)
    assert (error["attempts"], error["retryable"], error["hint"]) == (2, cls.retryable, "mend it")
    assert error["err_code"]


@pytest.mark.parametrize("cls", ALL)
def test_a_wrong_request_is_a_bad_request(cls: type[Explained]) -> None:
    """What is wrong with the recording, the options or the batch is Deepgram's `Bad Request`, and is not retried; what
    may pass by itself is never called one.
    """
    wrong = (MediaError, OptionsError, pipeline.errors.NotAResult, handler.errors.TooLarge, handler.errors.BadBatch)
    theirs = issubclass(cls, wrong)
    assert (cls.code == "Bad Request") is theirs
    if theirs:
        assert not cls.retryable


@pytest.mark.parametrize("cls", ALL)
def test_codes_are_deepgrams_or_plainly_ours(cls: type[Explained]) -> None:
    """A code that is not Deepgram's is in capitals, as its own are, and says what it is of."""
    assert cls.code in DEEPGRAMS or cls.code.replace("_", "").isupper()
    if cls.code == "INTERNAL_SERVER_ERROR":
        assert cls in (pipeline.errors.EngineFailure,)


def test_the_table_of_codes_is_current() -> None:
    """docs/format.md names each code that an error file can have, with its classes and whether a retry may help."""
    kept = [cls for cls in ALL if not issubclass(cls, UNPUBLISHED) and cls not in (MediaError, StoreError)]
    expected: dict[str, tuple[set[str], bool]] = {}
    for cls in kept:
        names, retryable = expected.setdefault(cls.code, (set(), cls.retryable))
        assert retryable == cls.retryable, cls
        names.add(cls.__name__)
    rows = rows_under(text_of("docs/format.md"), "### `errors/<key>.json`")
    found = {row[0].strip("`"): ({name.strip(" `") for name in row[1].split(",")}, row[2] == "yes") for row in rows}
    assert found == expected


# Errors of commands, of the worker as a whole, or of one write: they end no input.
UNPUBLISHED: tuple[type[Explained], ...] = (
    handler.errors.NotFound, handler.errors.Refused, handler.errors.Changed, handler.errors.Unavailable,
    handler.errors.BadKey, handler.errors.UnsafeStore, handler.errors.NewerFormat, handler.errors.LeaseLost,
    handler.errors.CallbackRefused, handler.errors.SettingsError, handler.errors.CannotWrite,
    handler.errors.NotInTime, handler.errors.Usage, pipeline.errors.NotAResult,
)  # fmt: skip
