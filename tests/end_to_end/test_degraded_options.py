"""Options whose model is not there, from a bucket through the real engine: done without, said, and mended later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from handler.job import Jobs
from handler.retry import Retry
from handler.types import JobRecord
from tests.end_to_end.bucket_rig import Rig, transcript_of, words_of
from tests.end_to_end.recordings import RATE, steady
from tests.pipeline.media import write_audio


def record(rig: Rig, manifest: dict[str, Any]) -> JobRecord:
    body = rig.read(f".dropscribe/v1/jobs/{manifest['jid']}.json")
    assert body is not None
    return JobRecord.model_validate_json(body)


def retry(rig: Rig, key: str) -> None:
    """As the command does, with a worker that was not there before."""
    jobs = Jobs(rig.store, rig.layout, rig.clock, rig.settings, "retry")
    assert Retry(jobs).key(key).outcome == "retried"
    rig.clock.skip(10)
    rig.new_worker()
    rig.drain()


def test_diarize_degrades_and_a_retry_runs_only_that(folder_rig: Rig, speech: Path) -> None:
    """Words without speakers, a warning for the reader, a reason in the record; the transcript is everybody's, and a
    retry does not transcribe again.
    """
    folder_rig.drop("a.flac", speech, sidecar={"diarize": True, "speakers": 2})
    folder_rig.drain()
    result = folder_rig.result("a.flac")
    assert words_of(result)
    assert all("speaker" not in word for word in words_of(result))
    assert [(one["parameter"], one["type"]) for one in result["metadata"]["warnings"]] == [("diarize", "degraded")]
    before = record(folder_rig, folder_rig.manifest("a.flac"))
    assert set(before.degraded) == {"diarizing"}
    folder_rig.drop("plain.flac", speech)
    folder_rig.drain()
    assert folder_rig.manifest("plain.flac")["cached_stages"] == ["transcribing"]
    assert "warnings" not in folder_rig.result("plain.flac")["metadata"]
    retry(folder_rig, "a.flac")
    manifest = folder_rig.manifest("a.flac")
    assert manifest["cached_stages"] == ["transcribing"]
    assert "transcribing" not in manifest["timings"]
    assert record(folder_rig, manifest).token > before.token


def test_what_was_made_of_unseparated_sound_is_nobody_elses(folder_rig: Rig, speech: Path) -> None:
    """stemming without a separator: the same words with a warning, and no other job takes that transcript for its
    own.
    """
    folder_rig.drop("a.flac", speech, sidecar={"stemming": True})
    folder_rig.drain()
    result = folder_rig.result("a.flac")
    assert [one["parameter"] for one in result["metadata"]["warnings"]] == ["stemming"]
    assert set(record(folder_rig, folder_rig.manifest("a.flac")).degraded) == {"separating_vocals"}
    for key, options in (("plain.flac", {}), ("other.flac", {"stemming": "auto"})):
        folder_rig.drop(key, speech, sidecar=options)
        folder_rig.drain()
        assert folder_rig.manifest(key)["cached_stages"] == [], key
        assert transcript_of(folder_rig.result(key)) == transcript_of(result)


def test_two_channels_are_two_speakers(folder_rig: Rig, tmp_path: Path) -> None:
    """diarize and multichannel: whoever has a channel is a speaker, and nothing is degraded."""
    first = steady(3.0)
    pause = np.zeros((1, 4 * RATE))
    call = np.concatenate([np.concatenate([first, pause], axis=1), np.concatenate([pause, first], axis=1)])
    folder_rig.drop(
        "call.wav",
        write_audio(tmp_path / "call.wav", call, RATE),
        sidecar={"diarize": True, "multichannel": True},
    )
    folder_rig.drain()
    result = folder_rig.result("call.wav")
    assert [{word["speaker"] for word in words_of(result, channel)} for channel in (0, 1)] == [{0}, {0}]
    turns = [(one["channel"], one["speaker"]) for one in result["results"]["utterances"]]
    assert turns == sorted(turns)
    assert {channel for channel, _ in turns} == {0, 1}
    assert "warnings" not in result["metadata"]
    assert record(folder_rig, folder_rig.manifest("call.wav")).degraded == {}


def test_several_languages_in_one_recording(folder_rig: Rig, tmp_path: Path) -> None:
    """language=multi through everything: each word names its language, and the alternative those that there are."""
    call = write_audio(tmp_path / "call.wav", np.concatenate([steady(3.0), steady(3.0, high=True)]), RATE)
    folder_rig.drop("call.wav", call, sidecar={"language": "multi", "multichannel": True})
    folder_rig.drain()
    result = folder_rig.result("call.wav")
    for number, code in enumerate(("en", "de")):
        assert [word["language"] for word in words_of(result, number)] == [code, code]
        assert result["results"]["channels"][number]["alternatives"][0]["languages"] == [code]
        assert "detected_language" not in result["results"]["channels"][number]
