"""Models beside the recogniser come out of a bucket when a job uses them, whole and checked, and only then."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from handler.clock import VirtualClock
from handler.errors import Unavailable
from handler.models.companions import LOOK_SECONDS, SPOILT_SECONDS, Beside, ChosenUnavailable, used
from handler.models.library import Library
from handler.models.mirror import Mirror
from handler.models.push import parcel, push
from handler.models.wares import COMPANIONS
from handler.settings import Settings
from pipeline.catalog import resolve
from pipeline.companions import companions_in
from pipeline.errors import ModelUnavailable
from pipeline.options import Options
from pipeline.plan import job_digest, stage_plans
from pipeline.records import RECORD
from tests.handler.models.conftest import PART, Shop
from tests.pipeline.companion_rig import aligner, cut, nemo, separator, stock

URL = "s3://anywhere/models"  # only that it is a bucket counts where a mirror is given
TALK = Options(diarize=True, stemming="auto", language="en")


def pushed(shop: Shop, source: Path, *names: str) -> None:
    for name in names or ("htdemucs", "aligner-en", "sortformer", "titanet"):
        one = parcel(name, None, source)
        push(shop.store, one.name, one.folder, one.record, wares=one.wares)


def mirrored(shop: Shop, clock: VirtualClock | None = None, **settings: Any) -> Beside:
    """A worker's, whose mirror of the shop lies in the folder where the settings look."""
    clock = clock or VirtualClock()
    made = Settings(models=URL, home=shop.home.parent / "worker", **settings)
    mirror = Mirror(shop.store, shop.home, clock, part=PART, told=shop.arrived.append, wares=COMPANIONS)
    return Beside(made, clock, lambda: mirror)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return stock(tmp_path / "source")


# ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_job_uses_is_brought(shop: Shop, source: Path) -> None:
    """A diarized job gets the separator, its language's aligner and one diarizer; nothing else is downloaded."""
    pushed(shop, source)
    aligner(source / "aligner-de", "de", weights=b"other" * 9000)
    pushed(shop, source, "aligner-de")
    shop.proxy.seen.clear()
    found = mirrored(shop).for_job(TALK)
    brought = {one.info.name for one in found.all() if Path(one.folder).is_dir()}
    assert brought == {"htdemucs", "aligner-en", "sortformer"}
    assert {one.info.name for one in found.all()} == brought | {"aligner-de", "titanet"}
    assert not [call for call in shop.proxy.seen if "titanet" in call.key and call.key.endswith(".nemo")]
    for name in brought:
        (one,) = [one for one in found.all() if one.info.name == name]
        (theirs,) = [one for one in _all_of(source) if one.info.name == name]
        assert one.info.revision == theirs.info.revision


def _all_of(home: Path) -> Any:
    return companions_in(None, home).all()


def test_a_plan_costs_no_download(shop: Shop, source: Path) -> None:
    """A job's identity and recipes are the same whether its models were brought, or are only known to be there, or lie
    in a folder.
    """
    pushed(shop, source)
    beside = mirrored(shop)
    known = beside.all()
    assert not any(Path(one.folder).exists() for one in known.all())
    brought = beside.for_job(TALK)
    here = companions_in(None, source)
    model = resolve("sphinx", None, shop.home)
    for options in (TALK, Options(), Options(diarize=True, speakers=9), Options(task="translate")):
        jids = {job_digest("c" * 64, options, model, None, some) for some in (known, brought, here)}
        assert len(jids) == 1
        plans = {stage_plans("c" * 64, options, model, None, some) for some in (known, brought, here)}
        assert len(plans) == 1
    assert job_digest("c" * 64, TALK, model) not in jids


def test_they_are_brought_once(shop: Shop, source: Path) -> None:
    """A running worker asks for nothing more; the next one asks for records alone, and downloads nothing."""
    pushed(shop, source)
    clock = VirtualClock()
    beside = mirrored(shop, clock)
    first = beside.for_job(TALK)
    asked = len(shop.proxy.seen)
    clock.sleep(LOOK_SECONDS * 2)
    assert beside.for_job(TALK) == first
    assert len(shop.proxy.seen) == asked
    assert mirrored(shop).for_job(TALK) == first
    gets = [call.key for call in shop.proxy.seen[asked:] if call.method == "GET"]
    assert {key.rpartition("/")[2] for key in gets} == {"", RECORD}  # the listing, and the records


def test_whispers_and_others_do_not_meet(shop: Shop, source: Path, weights: Path) -> None:
    """In one prefix each sort is listed alone: auto never takes a diarizer for a recogniser."""
    pushed(shop, source)
    shop.push("small", weights)
    assert shop.mirror().list() == ["small"]
    assert Mirror(shop.store, shop.home, VirtualClock(), wares=COMPANIONS).list() == [
        "aligner-en", "htdemucs", "sortformer", "titanet"
    ]  # fmt: skip
    assert resolve(None, URL, shop.home, remote=shop.mirror()).name == "small"
    assert {one.info.name for one in mirrored(shop).for_job(TALK).all()} == {
        "aligner-en", "htdemucs", "sortformer", "titanet"
    }  # fmt: skip


def test_a_push_again_sends_nothing_and_another_revision_overwrites_nothing(shop: Shop, source: Path) -> None:
    """As with a Whisper: idempotent, the record last, and readers of the revision before keep their files."""
    pushed(shop, source, "sortformer")
    puts = [call.key for call in shop.proxy.seen if call.method == "PUT"]
    assert puts[-1] == f"models/sortformer/{RECORD}"
    shop.proxy.seen.clear()
    pushed(shop, source, "sortformer")
    assert {call.method for call in shop.proxy.seen} == {"GET", "HEAD"}
    before = set(shop.stored())
    nemo(source / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo", "sortformer", b"anew")
    first = mirrored(shop)
    old = first.for_job(TALK).few
    pushed(shop, source, "sortformer")
    assert before < set(shop.stored())
    new = mirrored(shop).for_job(TALK).few
    assert old is not None
    assert new is not None
    assert old.info.revision != new.info.revision
    assert first.for_job(TALK).few == old
    assert (Path(old.folder) / old.file).is_file()


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_one_is_done_without(shop: Shop, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Objects that are not what was recorded are never used: the job goes on with what is left, and why is told; after
    a push again and a minute it is used.
    """
    caplog.set_level(logging.WARNING)
    pushed(shop, source)
    (key,) = [key for key in shop.stored() if key.startswith("sortformer/") and key.endswith(".nemo")]
    whole = shop.client.get_object(Bucket=shop.bucket, Key=f"models/{key}")["Body"].read()
    shop.client.put_object(Bucket=shop.bucket, Key=f"models/{key}", Body=whole[:-1] + b"!")
    clock = VirtualClock()
    beside = mirrored(shop, clock)
    found = beside.for_job(TALK)
    assert (found.few, found.many and found.many.name) == (None, "titanet")
    assert Path(found.many.folder if found.many else "").is_dir()
    assert "does not have the recorded checksum" in found.why_not("diarizer")[0]
    assert "sortformer is done without" in caplog.text
    shop.client.put_object(Bucket=shop.bucket, Key=f"models/{key}", Body=whole)
    assert beside.for_job(TALK).few is None
    clock.sleep(SPOILT_SECONDS + LOOK_SECONDS)
    few = beside.for_job(TALK).few
    assert few is not None
    assert Path(few.folder).is_dir()


STRANGE = {"x.nemo": "0" * 64, "more.nemo": "1" * 64}  # with a file that is no part of the model


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"{}",
        json.dumps({"kind": "sortformer", "file": "x.nemo"}).encode(),
        b'{"kind": "aligner"}',
        json.dumps(
            {"kind": "sortformer", "file": "x.nemo", "files": dict.fromkeys(STRANGE, 9), "sha256": STRANGE}
        ).encode(),
    ],
)
def test_a_record_that_says_nothing_is_a_problem(body: bytes, shop: Shop, source: Path) -> None:
    """A broken record in the bucket takes no job down: that model is passed over and named."""
    pushed(shop, source)
    shop.client.put_object(Bucket=shop.bucket, Key=f"models/sortformer/{RECORD}", Body=body)
    beside = mirrored(shop)
    assert beside.all().few is None  # before anything is brought
    found = beside.for_job(TALK)
    assert found.few is None
    assert found.many is not None
    assert "sortformer" in {problem.name for problem in found.problems}


def test_a_bucket_that_does_not_answer_makes_nothing_poorer(shop: Shop, source: Path, tmp_path: Path) -> None:
    """Without an answer there is no job at all, until the bucket answers; what was brought before is used meanwhile."""
    pushed(shop, source)
    shop.proxy.plan = lambda call: "InternalError"
    settings = Settings(models=f"s3://{shop.bucket}/models", home=tmp_path / "worker")
    library = Library(settings, VirtualClock(), opened=lambda url, clock: shop.store)
    with pytest.raises(ChosenUnavailable):
        library.companions(TALK)
    with pytest.raises(Unavailable):
        mirrored(shop).all()
    shop.proxy.plan = lambda call: None
    first = library.companions(TALK)
    shop.proxy.plan = lambda call: "InternalError"
    again = Library(settings, VirtualClock(), opened=lambda url, clock: shop.store).companions(TALK)
    assert used(TALK, again) == used(TALK, first)


def test_what_the_operator_named_is_waited_for(shop: Shop, source: Path) -> None:
    """A name among the settings that the bucket has not got is an error for the worker, not a poorer job."""
    pushed(shop, source, "titanet")
    with pytest.raises(ChosenUnavailable, match="DROPSCRIBE_DIARIZER names 'other'"):
        mirrored(shop, diarizer="other").for_job(TALK)
    found = mirrored(shop, diarizer="titanet").for_job(TALK)
    assert found.many is not None


# ── how often anybody looks ──────────────────────────────────────────────────────────────────────────────────────────


def test_folders_are_looked_at_every_few_seconds(tmp_path: Path) -> None:
    """A thousand recordings in a row cost one look at the folders; a model that comes is seen soon."""
    home = tmp_path / "home"
    separator(home / "htdemucs")
    clock = VirtualClock()
    library = Library(Settings(home=home), clock)
    first = library.companions(TALK)
    cut(home / "htdemucs" / "model.safetensors")
    stock(home / "later")
    for name in ("sortformer", "aligner-en"):
        (home / "later" / name).rename(home / name)
    for _ in range(1000):
        assert library.companions(TALK) is first
    clock.sleep(LOOK_SECONDS)
    found = library.companions(TALK)
    assert found.separator is None
    assert found.few is not None
    assert [one.info.name for one in found.aligners] == ["aligner-en"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (Options(), {"aligner-en", "aligner-de"}),
        (Options(language="de"), {"aligner-de"}),
        (Options(language="pt"), set()),
        (Options(language="multi"), {"aligner-en", "aligner-de"}),
        (Options(task="translate"), set()),
        (Options(language="en-GB", stemming="true"), {"aligner-en", "htdemucs"}),
        (Options(language="en", diarize=True), {"aligner-en", "sortformer"}),
        (Options(language="en", diarize=True, speakers=7), {"aligner-en", "titanet"}),
        (Options(language="en", diarize=True, speakers=1), {"aligner-en"}),
    ],
)
def test_what_a_job_uses_follows_from_its_options(options: Options, names: set[str], tmp_path: Path) -> None:
    """Of what is there a job uses what its options ask for, and no more is ever brought for it."""
    home = stock(tmp_path)
    aligner(home / "aligner-de", "de")
    assert {one.info.name for one in used(options, companions_in(None, home))} == names


def test_parcels_are_damaged_or_whole(source: Path) -> None:
    """A model that is not whole is not pushed; a bare download is, under its own name in small letters."""
    nemo(source / "Mine.nemo", "voices")
    one = parcel("mine", None, source)
    assert (one.name, one.folder, set(one.record.files)) == ("mine", source, {"Mine.nemo"})
    assert parcel(str(source / "htdemucs"), None, source / "none").name == "htdemucs"
    cut(source / "htdemucs" / "model.safetensors")
    with pytest.raises(ModelUnavailable, match="damaged"):
        parcel("htdemucs", None, source)
