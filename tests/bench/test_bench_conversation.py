"""The benches of the stages beside the recogniser in their small form, and what they stand on: random models, engines
that take one step at a time.
"""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docs_rig import ROOT, text_of

from bench import conversation, diarization, gpu, separation, whole
from bench.__main__ import BENCHES, TOGETHER
from bench.gpu import measured
from bench.nets import _ASR, EXTRA, SIZES, _aligner, _sortformer, companions_of, lacking, shelf_of
from bench.table import Row
from bench.watched import BESIDE
from bench.whole import Pair, _compared, write_over_music
from pipeline.devices import Gpus
from pipeline.models.nemo import module
from pipeline.stages.music import music
from tests.pipeline.demucs_rig import decoded

heavy = pytest.mark.heavy


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beside")


def figures(row: Row, unit: str) -> list[float]:
    return [float(found.replace(",", "")) for found in re.findall(rf"([\d,.]+) {unit}", row.measured)]


# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_name_measures_the_whole_pipeline() -> None:
    """`./run bench pipeline` prints the figures of every stage, each of which can be measured by itself, too."""
    assert set(TOGETHER["pipeline"]) == {"pipeline", "conversation", "separation", "diarization", "whole"}
    assert set(TOGETHER["pipeline"]) < set(BENCHES)


def test_the_extra_is_installed_where_figures_need_it() -> None:
    """`./run bench` brings the extra `models` for the benches that would leave rows out without it, and no other."""
    found = re.search(r'"" \| -\* \| ([\w |]+)\) install dev,models', text_of("run"))
    assert found is not None
    assert set(found[1].split(" | ")) == {*TOGETHER["pipeline"], "gpu"}


@pytest.mark.parametrize("absent", EXTRA)
def test_each_package_of_the_extra_is_missed(absent: str) -> None:
    """Whichever package of the extra is not there, it is named."""
    assert lacking(lambda name: name != absent) == absent
    assert lacking(lambda name: True) == ""


def test_rows_that_need_the_extra_say_so() -> None:
    """Without the extra a bench says which package is missing, in place of its figures, and ends well; what needs no
    extra is measured.
    """
    plan = separation.Plan(each=1)
    for rows in (diarization.measured((1,), "nemo"), whole.measured(whole.Plan(), "nemo")):
        [row] = rows
        assert "`models` is not installed (nemo is missing)" in row.measured
        assert row.ok is None
    first, *rest = separation.measured(plan, "nemo")
    assert "nemo is missing" in first.measured
    assert any("precision" in row.measured for row in rest)


@pytest.mark.parametrize(("ratio", "reached"), [(0.7, True), (0.8, False)])
def test_stages_side_by_side_must_pay(ratio: float, reached: bool) -> None:
    """The median of the turns decides, and what each stage took by itself stands beside it."""
    row = _compared("name", [0.1, ratio, 2.0], {"transcribing": 3.0}, whole.SIDE_BY_SIDE)
    assert (row.ok, row.target) == (reached, "≤ 0.75")
    assert row.measured == f"{ratio:.2f} (of 3: 0.10 to 2.00); one at a time: transcribing 3.0 s"


def test_speech_over_music_is_music(tmp_path: Path) -> None:
    """The recording that goes through all stages is one whose voices are worth separating, as long as it was asked."""
    path = write_over_music(tmp_path / "music.wav", 20.5)
    audio = decoded(path, tmp_path / "audio")
    assert audio.info.duration == 20.5
    assert music(audio, lambda done, total: None).worth_separating


# ── one step at a time ───────────────────────────────────────────────────────────────────────────────────────────────

_COUNTED = """
import sys, threading, time
from pipeline.flow import Made, Step, run_flow
if sys.argv[1] == "one":
    from bench.in_sequence import install
    install()
at_work, most, lock = [], [], threading.Lock()
both = threading.Barrier(2)
class Silent:
    planned = began = moved = over = lambda *told: None
def work(given, report):
    with lock:
        at_work.append(1)
        most.append(len(at_work))
    if sys.argv[1] == "all":
        both.wait(60)
    time.sleep(0.05)
    with lock:
        at_work.pop()
    return Made(1)
steps = [Step(name=name, run=work) for name in "ab"]
run_flow([*steps, Step(name="c", run=lambda given, report: Made(2), needs=("a", "b"))], Silent())
print(max(most))
"""


@pytest.mark.parametrize(("how", "most"), [("one", "1"), ("all", "2")])
def test_one_step_at_a_time(how: str, most: str) -> None:
    """The engine that stages side by side are measured against never runs two steps at once; the other one does."""
    done = subprocess.run([sys.executable, "-c", _COUNTED, how], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == most


# ── random models ────────────────────────────────────────────────────────────────────────────────────────────────────


@heavy
def test_every_kind_is_there(scratch: Path) -> None:
    """The models that jobs are measured with are of all kinds, made once, and found as a worker finds them."""
    found = companions_of(SIZES["toy"], scratch)
    assert {one.info.arch for one in found.all()} == {"htdemucs", "ctc", "sortformer", "voices"}
    assert not found.problems
    before = {path: path.stat().st_mtime_ns for path in shelf_of(SIZES["toy"], scratch).rglob("*")}
    assert companions_of(SIZES["toy"], scratch) == found
    assert {path: path.stat().st_mtime_ns for path in shelf_of(SIZES["toy"], scratch).rglob("*")} == before


@heavy
def test_the_trained_miniatures_stand_in(scratch: Path) -> None:
    """Models that the tests have trained are used before random ones of their kind."""
    names = {one.info.name for one in companions_of(SIZES["toy"], scratch).all()}
    assert {"tiny-demucs", "tiny-aligner"} <= names


@heavy
def test_real_sizes_are_the_published_ones() -> None:
    """Random models of real size have as many parameters as those that they stand for: 117.7, 121 and 42 million."""
    real = SIZES["real"]

    def sortformer(layers: int, above: int) -> float:
        net = replace(real.sortformer, layers=layers, above=above)
        return parameters("SortformerEncLabelModel", _sortformer(net))

    def aligner(layers: int) -> float:
        return parameters("EncDecCTCModel", _aligner(replace(real.aligner, layers=layers)))

    # Layers are alike: two of them tell of all, and are made in seconds.
    one, layers, above = sortformer(1, 1), real.sortformer.layers - 1, real.sortformer.above - 1
    whole_ = one + layers * (sortformer(2, 1) - one) + above * (sortformer(1, 2) - one)
    assert whole_ == pytest.approx(117.7e6, rel=0.01)
    assert aligner(1) + (real.aligner.layers - 1) * (aligner(2) - aligner(1)) == pytest.approx(121e6, rel=0.01)
    with module("torch").device("meta"):
        separator = module("demucs.htdemucs").HTDemucs(**real.separator)
    assert sum(one.numel() for one in separator.parameters()) == pytest.approx(42e6, rel=0.02)


def parameters(kind: str, config: dict[str, Any]) -> float:
    made = module("omegaconf").OmegaConf.create(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NeMo and torch warn of each other
        return float(sum(one.numel() for one in getattr(module(f"{_ASR}.models"), kind)(cfg=made).parameters()))


# ── the small forms ──────────────────────────────────────────────────────────────────────────────────────────────────


@heavy
@pytest.mark.timeout(900)
def test_diarization_is_measured_at_every_length() -> None:
    """Both diarizers' peaks of memory are told at each length, beside a target that they are equal."""
    rows = diarization.measured((0.2, 0.4))
    assert [row.name.partition(":")[0] for row in rows[:-1]] == ["Sortformer", "clustering, six speakers"]
    for row in rows[:-1]:
        peaks = figures(row, "MB")[:2]
        assert all(peak > 50 for peak in peaks)
        assert row.ok is (max(peaks) <= diarization.GROWTH * peaks[0])


@heavy
@pytest.mark.timeout(900)
def test_separation_is_compared_and_weighed() -> None:
    """Separation's speed stands beside apply_model's over the same sound, with the same outcome, and its memory at
    each length.
    """
    rows = separation.measured(separation.Plan(seconds=8, times=1, lengths=(0.1, 0.2), each=1))
    assert [row.target for row in rows[:2]] == ["≥ 1", "equal to 5%"]
    assert float(rows[0].measured.rpartition(" ")[2]) < 1e-3
    assert len(figures(rows[1], "MB")) == 2


@heavy
@pytest.mark.timeout(900)
def test_whole_jobs_are_measured() -> None:
    """Jobs go through every stage in both engines, and memory is told of one with separation; a degraded stage would
    end it all.
    """
    plan = whole.Plan(pairs=(Pair("toy", 1, whole.SIDE_BY_SIDE),), minutes=0.3, rounds=1, long=0.3, warm=0.2)
    ratio, memory, speed = whole.measured(plan)
    for stage in ("transcribing", "aligning", "diarizing"):
        assert re.search(rf"{stage} [\d.]+ s", ratio.measured), stage
    assert (ratio.target, memory.target) == ("≤ 0.75", "≤ 2500 MB")
    assert figures(memory, "MB")[-1] > 100
    assert "separating_vocals" in speed.measured


@heavy
@pytest.mark.timeout(900)
def test_viterbi_and_mapping_are_measured() -> None:
    """Alignment's Viterbi has its time for an hour and its ratio to NeMo's; ten hours of words have theirs."""
    rows = conversation.measured(1)
    assert [row.target for row in rows if row.target] == ["≤ 0.5 s", "≤ 1 s", "≤ 1 s"]
    [beside] = [row for row in rows if "NeMo" in row.name]
    assert figures(beside, "times")[0] > 1


@heavy
@pytest.mark.timeout(900)
def test_the_gpu_bench_measures_every_stage(tmp_path: Path) -> None:
    """The small form runs the stages beside the recogniser, too, alone and in whole jobs, under the stop-watch."""
    rows = measured(tmp_path, look=lambda: Gpus(problem="none in this test"), lacks=lambda: "")
    told = {row.name: row.measured for row in rows}
    alone = told["toy size: stages beside the recogniser, each alone, × real time"]
    assert re.fullmatch(r"voices out of music [\d.,]+, CTC alignment [\d.,]+, Sortformer [\d.,]+", alone)
    assert any(name.endswith("recognised, aligned, told apart") for name in told)
    calls = told["toy: the models' calls in these jobs, × real time"]
    assert all(name in calls for name in BESIDE if name != "separate")
    assert any("voices separated" in name for name in told)
    assert gpu.SMALL.beside == "toy"
