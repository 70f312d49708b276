"""Results read by those who have nothing but a link: `requests` and Deepgram's SDK, through presigned URLs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from deepgram.types.listen_v1response import ListenV1Response
from deepgram_captions import DeepgramConverter, srt

from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from handler.settings import Settings, load_settings
from handler.store.s3 import S3Store
from handler.worker import Worker
from pipeline.options import OUTPUTS

Link = Callable[[str], str]


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return load_settings(model="sphinx", work_dir=tmp_path / "work", home=tmp_path / "home")


@pytest.fixture
def link(s3_bucket: str, s3_client: Any, settings: Settings) -> Iterator[Link]:
    """Presigned URLs of what a worker left in a bucket on S3: one recording with every form, one that failed."""
    store = S3Store(s3_bucket, "calls", clock=SystemClock())
    query = {"dropscribe": f"outputs={','.join(OUTPUTS)}&tag=board"}
    s3_client.put_object(Bucket=s3_bucket, Key="calls/input/a b.wav", Body=b"somebody talks", Metadata=query)
    s3_client.put_object(Bucket=s3_bucket, Key="calls/input/none.wav", Body=b"")
    worker = Worker(store, settings, SystemClock(), ScriptedEngine(), name="presigned")
    worker.run(drain=True)

    def made(key: str) -> str:
        asked = {"Bucket": s3_bucket, "Key": f"calls/{key}"}
        url: str = s3_client.generate_presigned_url("get_object", Params=asked, ExpiresIn=60)
        return url

    yield made
    store.close()


def fetched(url: str) -> requests.Response:
    """By somebody without credentials, and without a proxy in between."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, timeout=30)
    answer.raise_for_status()
    return answer


def test_the_official_sdk_reads_a_result(link: Link) -> None:
    """What a link gives is, to Deepgram's own model, a response of its API with everything in it."""
    answer = fetched(link("results/a b.wav.json"))
    parsed = ListenV1Response.model_validate_json(answer.content)
    assert type(parsed) is ListenV1Response
    words = parsed.results.channels[0].alternatives[0].words
    assert len(words) == 8
    assert parsed.metadata.duration == 60.0
    assert parsed.results.utterances
    assert answer.json()["metadata"]["tags"] == ["board"]
    assert srt(DeepgramConverter(answer.json())).count("-->") >= 1


def test_requests_reads_every_form(link: Link) -> None:
    """Each form that the manifest names is there under its own link, as text in UTF-8."""
    manifest = fetched(link("progress/a b.wav.json")).json()
    assert list(manifest["outputs"]) == sorted(OUTPUTS)
    first = fetched(link(manifest["result"])).json()["results"]["channels"][0]["alternatives"][0]["words"][0]
    for kind, key in manifest["outputs"].items():
        body = fetched(link(key)).content.decode("utf-8")
        assert ("a_b.wav" if kind == "rttm" else first["punctuated_word"]) in body


def test_an_error_is_read_too(link: Link) -> None:
    """A recording that failed has Deepgram's error object under its link; its result's link gives none."""
    error = fetched(link("errors/none.wav.json")).json()
    assert {"err_code", "err_msg", "request_id"} <= set(error)
    with pytest.raises(requests.HTTPError) as caught:
        fetched(link("results/none.wav.json"))
    assert caught.value.response.status_code == 404
