"""Which stages an option reruns, which are a job's identity, and the table in docs/options.md that says so."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deepgram.listen.v1.media.client import MediaClient

from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.options import OF_ONE_INPUT, Options, canonical, for_stage, parse, table
from pipeline.options.model import OUTPUT, roles
from pipeline.options.names import ALIASES, REFUSED
from pipeline.plan import job_digest, recipes, stage_plans
from tests.pipeline.company import EVERYTHING

DOCS = Path(__file__).parents[2] / "docs" / "options.md"
STAGES = ("decoding", "transcribing", "generating_output")


def _options(**given: Any) -> Options:
    return parse(("options.json", given)).options


# For every option there is: a value other than its default.
CHANGED: dict[str, Any] = {
    "model": "tiny", "version": "2021", "language": "en", "detect_language": ["en"], "task": "translate",
    "multichannel": True, "diarize": False, "speakers": 2, "min_speakers": 2, "max_speakers": 3, "stemming": "auto",
    "hotwords": ["x"], "initial_prompt": "x", "suppress_numerals": True, "batch_size": 4, "punctuate": False,
    "smart_format": True, "paragraphs": False, "utterances": False, "utt_split": 1.0, "numerals": True,
    "measurements": True, "dictation": True, "filler_words": True, "profanity_filter": True, "replace": "a:b",
    "redact": "numbers", "search": "x", "outputs": "srt,vtt", "callback": "https://example.com",
    "callback_method": "PUT", "cache": False, "tag": "a", "extra": "k:v",
}  # fmt: skip
MODELS = {
    name: Model(name=name, backend="sphinx", revision=f"revision of {name}", version="1", arch="a")
    for name in ("default", "tiny")
}


def _digests(companions: Companions | None = None, **given: Any) -> dict[str, str]:
    options = parse(("options.json", given)).options
    return recipes("c" * 64, options, MODELS[options.model or "default"], "j", companions or Companions())


@pytest.mark.parametrize("name", Options.model_fields)
def test_an_option_reruns_the_stages_of_its_row_and_no_other(name: str) -> None:
    """Each option, changed by itself, changes the digests of just the stages that docs/options.md names for it; so
    those that only shape the text run no model stage.
    """
    base = {"diarize": True, "stemming": True, "callback": "https://example.com/0"}
    before, after = _digests(EVERYTHING, **base), _digests(EVERYTHING, **{**base, name: CHANGED[name]})
    touched = [stage for stage in before if before[stage] != after.get(stage)]
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{name}`"))
    documented = row.split(" | ")[4].strip()
    if name == "cache":  # another owner's artifacts: none of them is at fault
        assert (touched, documented) == (list(before), "—")
    else:
        assert (", ".join(touched) or "—") == documented
    if OUTPUT in roles()[name].stages and name != "detect_language":
        assert touched == [OUTPUT]


def test_a_job_has_the_stages_that_it_asks_for() -> None:
    """Without stemming and diarize there are neither; the recipes of the others are then what they always were."""
    assert list(_digests()) == ["decoding", "transcribing", "generating_output"]
    assert list(_digests(diarize=True)) == ["decoding", "transcribing", "diarizing", "generating_output"]
    assert list(_digests(stemming="auto")) == ["decoding", "separating_vocals", "transcribing", "generating_output"]
    plain, diarized = _digests(), _digests(diarize=True)
    assert plain["transcribing"] == diarized["transcribing"]
    assert plain["generating_output"] != diarized["generating_output"]


def test_only_what_changes_the_results_is_part_of_a_jobs_identity() -> None:
    """Labels, where the result goes and the batch's size leave a job what it was; every other option makes it another
    one.
    """
    labelled = _options(
        tag=["a"], extra={"k": "v"}, batch_size=4, version="latest", outputs="srt", callback="https://example.com/done",
        callback_method="put", cache=False,
    )  # fmt: skip
    assert canonical(labelled) == canonical(Options())
    assert {name for name, role in roles().items() if not role.stages} >= OF_ONE_INPUT
    changed = {name: value for name, value in CHANGED.items() if roles()[name].stages}
    base = canonical(_options(diarize=True))
    seen = [canonical(_options(**({"diarize": True} | {name: value}))) for name, value in changed.items()]
    assert all(one != base for one in seen)
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(changed)


def test_without_the_cache_a_job_is_its_inputs_own() -> None:
    """``cache=false`` changes no option's share of an identity, but job and stages are those of one input, and shared
    by no other; whose they are must be said.
    """
    shared, own = Options(), _options(cache="false")
    model = Model(name="m", backend="sphinx", revision="r", version="1", arch="a")
    content = "c" * 64
    assert canonical(own) == canonical(shared)
    jids = {job_digest(content, shared, model, sid) for sid in ("one", "two", None)}
    jids |= {job_digest(content, own, model, sid) for sid in ("one", "one", "two")}
    assert len(jids) == 3
    plans = [stage_plans(content, options, model, jid) for options, jid in ((shared, "j1"), (own, "j1"), (own, "j2"))]
    assert len({plan.digest for made in plans for plan in made}) == 2 * 3
    assert stage_plans(content, shared, model) == stage_plans(content, shared, model, "j1")
    with pytest.raises(ValueError, match="whose"):
        job_digest(content, own, model)
    with pytest.raises(ValueError, match="whose"):
        stage_plans(content, own, model)


def test_a_stage_depends_on_its_own_options_only() -> None:
    """Changing how text is shown does not transcribe again; changing what is heard does."""
    base, shown, heard = Options(), _options(utt_split=2, smart_format=True), _options(language="en", hotwords="x")
    assert for_stage(shown, "transcribing") == for_stage(base, "transcribing")
    assert for_stage(shown, "generating_output") != for_stage(base, "generating_output")
    assert for_stage(heard, "transcribing") == {"language": "en", "hotwords": ["x"], "task": "transcribe"}
    assert for_stage(heard, "generating_output") == for_stage(base, "generating_output")
    assert for_stage(_options(multichannel=True), "decoding") == {"multichannel": True}
    merged: dict[str, Any] = {}
    for stage in STAGES:
        merged |= for_stage(heard, stage)
    assert merged == canonical(heard)


def test_the_documented_table_is_current() -> None:
    """docs/options.md is what ``python -m pipeline.options`` prints."""
    assert DOCS.read_text() == table(), "run: python -m pipeline.options > docs/options.md"
    for name in (*Options.model_fields, *ALIASES, *REFUSED):
        assert f"| `{name}`" in table()


def test_the_generator_prints_the_table_and_stays_light() -> None:
    """The command named in the document works, and loads nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline.options"], capture_output=True, text=True, check=True
    )
    assert done.stdout == table()
    assert not re.search(r"\| +(numpy|torch|boto3|av)$", done.stderr, re.MULTILINE)


def test_the_state_of_every_option_is_in_the_table() -> None:
    """Built, built with a model of its own, or refused: whoever reads the table knows what to expect."""
    states = {cells[0].strip("` †"): cells[1] for cells in _rows()}
    for name, role in roles().items():
        own = not {"separating_vocals", "diarizing"}.isdisjoint(role.stages)
        assert states[name] == ("built, with a model" if own else "built"), name
    assert all(states[name] == "refused" for name in REFUSED)
    named = set(inspect.signature(MediaClient.transcribe_url).parameters) - {"self", "url", "request_options"}
    assert named <= set(states), "an option of Deepgram's client has no row"


def _rows() -> list[list[str]]:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
