"""HTDemucs loaded and converted: real weights of the real class, and everything that can be wrong with them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable, OutOfMemory
from pipeline.models.demucs import (
    CONFIG,
    WEIGHTS,
    LoadedDemucs,
    load_demucs,
    open_demucs,
    read_arguments,
    write_arguments,
)
from pipeline.models.demucs_convert import convert_demucs
from pipeline.models.ladder import Ladder, Rung
from tests.pipeline.demucs_rig import ARGUMENTS, revision_of, save_net, tiny_net

SEGMENT = int(44_100 * Fraction(39, 40))


def stretch(seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((2, SEGMENT)).astype(np.float32)


@pytest.mark.heavy
def test_what_is_loaded_gives_the_voices(tmp_path: Path) -> None:
    """A folder's weights give the net's voices and nothing else, to the bit of what the whole net gives."""
    import torch

    net = tiny_net()
    separator = load_demucs(save_net(net, tmp_path / "tiny"))
    assert (separator.rate, separator.channels, separator.segment, separator.fixed) == (44_100, 2, SEGMENT, True)
    (found,) = separator.voices([stretch()])
    with torch.no_grad():
        expected = net(torch.from_numpy(stretch())[None])[0, 3].numpy()
    assert np.array_equal(found, expected)
    assert separator.warnings() == ()


@pytest.mark.heavy
def test_half_the_bytes_load_too(tmp_path: Path) -> None:
    """Weights that were published in half precision are computed with in single precision."""
    import torch

    net = tiny_net().half().float()
    folder = save_net(net, tmp_path / "whole")
    halves = save_net(tiny_net().half(), tmp_path / "half")
    (one,), (other,) = load_demucs(folder).voices([stretch()]), load_demucs(halves).voices([stretch()])
    assert np.array_equal(one, other)
    assert next(open_demucs(halves, Rung("cpu", "float32", 1)).parameters()).dtype == torch.float32


def test_a_revision_is_its_weights_and_arguments(tmp_path: Path) -> None:
    """Another byte of either file is another revision."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        write_arguments(tmp_path / name, ARGUMENTS)
        (tmp_path / name / WEIGHTS).write_bytes(b"weights")
    assert revision_of(tmp_path / "a") == revision_of(tmp_path / "b")
    (tmp_path / "b" / WEIGHTS).write_bytes(b"weightz")
    write_arguments(tmp_path / "c", ARGUMENTS | {"segment": 1})
    assert len({revision_of(tmp_path / name) for name in ("a", "b", "c")}) == 3


def test_arguments_come_back(tmp_path: Path) -> None:
    """Fractions among the constructor's arguments survive JSON."""
    (tmp_path / WEIGHTS).touch()
    write_arguments(tmp_path, ARGUMENTS)
    assert read_arguments(tmp_path) == ARGUMENTS


@pytest.mark.parametrize("missing", ["torch", "safetensors", "demucs"])
def test_a_missing_extra_is_named(tmp_path: Path, missing: str) -> None:
    """Without the extra the error says what is lacking and how to install it."""
    with pytest.raises(ModelUnavailable, match=missing) as raised:
        load_demucs(tmp_path, has=lambda module: module != missing)
    assert "dropscribe[models]" in raised.value.hint


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ("[]", "not of an HTDemucs"),
        ('{"class": "Demucs", "arguments": {}}', "not of an HTDemucs"),
        ('{"class": "HTDemucs", "arguments": {"sources": ["drums"]}}', "no source 'vocals'"),
        ('{"class": "HTDemucs", "arguments": {"sources": 5}}', "no source 'vocals'"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path: Path, config: str | None, said: str) -> None:
    """Each thing that can be wrong with the arguments is told."""
    (tmp_path / WEIGHTS).touch()
    if config is not None:
        (tmp_path / CONFIG).write_text(config)
    with pytest.raises(ModelUnavailable, match=said):
        read_arguments(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    """Arguments without weights are no model."""
    write_arguments(tmp_path, ARGUMENTS)
    with pytest.raises(ModelUnavailable, match=f"no {WEIGHTS}"):
        read_arguments(tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("damage", ["cut", "garbage", "other shapes", "unknown argument", "other keys"])
def test_damaged_weights(tmp_path: Path, damage: str) -> None:
    """Weights that are cut off, are none, or do not fit the arguments: a clear error, never half a net."""
    from safetensors.torch import save_file

    folder = save_net(tiny_net(), tmp_path / "tiny")
    weights = folder / WEIGHTS
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "garbage":
        weights.write_bytes(b"\x80\x04cos\nsystem\n" + bytes(1000))
    elif damage == "other shapes":
        write_arguments(folder, ARGUMENTS | {"channels": 4})
    elif damage == "unknown argument":
        write_arguments(folder, ARGUMENTS | {"colour": "red"})
    else:
        save_file({f"x{name}": one for name, one in tiny_net().state_dict().items()}, weights)
    with pytest.raises(ModelUnavailable, match="the model tiny cannot be loaded"):
        load_demucs(folder)


@pytest.mark.heavy
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    """Asked for by name a GPU that cannot be used is an error that says what to do; with auto the CPU does it."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    folder = save_net(tiny_net(), tmp_path / "tiny")
    with pytest.raises(ModelUnavailable, match="the GPU cannot be used"):
        load_demucs(folder, DeviceSettings(device="cuda"))
    assert load_demucs(folder).device == "cpu"


class Tight:
    """A net on a device where only so many stretches fit at once."""

    sources = ["vocals"]

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, mix: Any) -> Any:
        import torch

        if len(mix) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return mix[:, None]


@pytest.mark.heavy
@pytest.mark.parametrize(("room", "batch"), [(3, 2), (1, 1)])
def test_memory_that_runs_out(room: int, batch: int) -> None:
    """Stretches that do not fit at once are computed in smaller batches, each once, in order."""
    ladder = Ladder[Any]([Rung("cpu", "float32", 8)], lambda rung: Tight(room))
    separator = LoadedDemucs(ARGUMENTS, ladder)
    given = [stretch(seed)[:, :100] for seed in range(9)]
    assert all(np.array_equal(a, b) for a, b in zip(separator.voices(given), given, strict=True))
    assert separator.batch == batch
    assert separator.warnings() == ()


@pytest.mark.heavy
def test_no_room_for_one() -> None:
    """A single stretch that does not fit goes to the next rung, with a warning for the reader; on the last it is an
    error of its own.
    """
    rungs = [Rung("cpu", "float32", 8), Rung("cpu", "float32 again", 1)]
    ladder = Ladder[Any](rungs, lambda rung: Tight(0 if rung == rungs[0] else 1))
    separator = LoadedDemucs(ARGUMENTS, ladder)
    assert len(separator.voices([stretch()[:, :100]] * 3)) == 3
    (warning,) = separator.warnings()
    assert (warning.parameter, warning.type) == ("stemming", "degraded")
    none = LoadedDemucs(ARGUMENTS, Ladder[Any](rungs[:1], lambda rung: Tight(0)))
    with pytest.raises(OutOfMemory):
        none.voices([stretch()[:, :100]])


@pytest.mark.heavy
def test_weights_that_give_no_numbers_are_refused() -> None:
    """NaN never becomes a sound that somebody transcribes."""

    class Broken(Tight):
        def __call__(self, mix: Any) -> Any:
            mix[-1, 0, 50] = float("nan")
            return super().__call__(mix)

    separator = LoadedDemucs(ARGUMENTS, Ladder[Any]([Rung("cpu", "float32", 8)], lambda rung: Broken(8)))
    with pytest.raises(ModelUnavailable, match="gives no numbers"):
        separator.voices([stretch()[:, :100]] * 3)


# ── conversion ───────────────────────────────────────────────────────────────────────────────────────────────────────


def as_pickle(net: Any, path: Path, **more: Any) -> Path:
    """As demucs.states writes a checkpoint."""
    import torch
    from demucs.htdemucs import HTDemucs

    state = {name: one.half() for name, one in net.state_dict().items()}
    package = {"klass": HTDemucs, "args": (ARGUMENTS["sources"],), "kwargs": _rest() | {"dropped_since": 1}}
    training = {"figures": np.float64(7.5), "optim": {"lr": 3e-4}}
    torch.save(package | {"state": state, "training_args": training} | more, path)
    return path


def as_on_the_hub(net: Any, path: Path, klass: str = "demucs.htdemucs.HTDemucs") -> Path:
    """As demucs.hf reads one."""
    from safetensors.torch import save_file

    kwargs = _rest() | {"segment": {"_type": "fraction", "numerator": 39, "denominator": 40}}
    told = {"klass": klass, "args": json.dumps([ARGUMENTS["sources"]]), "kwargs": json.dumps(kwargs)}
    save_file({name: one.half() for name, one in net.state_dict().items()}, path, metadata=told)
    return path


def _rest() -> dict[str, Any]:
    return {name: value for name, value in ARGUMENTS.items() if name != "sources"}


@pytest.mark.heavy
@pytest.mark.parametrize("make", [as_pickle, as_on_the_hub])
def test_conversion(tmp_path: Path, make: Any) -> None:
    """A checkpoint in either of demucs' formats becomes a folder that gives the same voices; demucs itself reads the
    hub's format alike.
    """
    net = tiny_net().half().float()
    source = make(net, tmp_path / ("a.th" if make is as_pickle else "a.safetensors"))
    convert_demucs(source, tmp_path / "made")
    assert read_arguments(tmp_path / "made") == ARGUMENTS
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, "made"]
    (found,) = load_demucs(tmp_path / "made").voices([stretch()])
    (expected,) = load_demucs(save_net(net, tmp_path / "direct")).voices([stretch()])
    assert np.array_equal(found, expected)
    if make is as_on_the_hub:
        from demucs.hf import load_safetensors_model

        theirs = load_safetensors_model(source)
        assert all(one.equal(net.state_dict()[name]) for name, one in theirs.state_dict().items())


@pytest.mark.heavy
def test_of_a_bag_only_the_voices_are_taken(tmp_path: Path) -> None:
    """Of a bag like htdemucs_ft the model that makes its voices is converted; a bag that mixes several is refused."""
    bag = tmp_path / "bag"
    bag.mkdir()
    for nth, name in enumerate(("f7e0c4bc", "04573f0d")):
        as_pickle(tiny_net(nth), bag / f"{name}-1234.th")
    described = bag / "ft.yaml"
    described.write_text("models: ['f7e0c4bc', '04573f0d']\nweights: [[1., 1., 1., 0.], [0., 0., 0., 1.]]\n")
    convert_demucs(bag, tmp_path / "made")
    (found,) = load_demucs(tmp_path / "made").voices([stretch()])
    (expected,) = load_demucs(save_net(tiny_net(1).half(), tmp_path / "direct")).voices([stretch()])
    assert np.array_equal(found, expected)
    described.write_text("models: ['f7e0c4bc', '04573f0d']\n")
    with pytest.raises(ModelUnavailable, match="2 models of the bag"):
        convert_demucs(bag, tmp_path / "mixed")
    described.write_text("models: ['955717e8']\n")
    with pytest.raises(ModelUnavailable, match="no file of its model 955717e8"):
        convert_demucs(bag, tmp_path / "lacking")


class Runs:
    """What a hostile pickle does when it is read."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("it-ran"),)


@pytest.mark.heavy
def test_nothing_in_a_checkpoint_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle with code in it is refused before the code runs, and no folder is left."""
    monkeypatch.chdir(tmp_path)
    hostile = as_pickle(tiny_net(), tmp_path / "a.th", extra=Runs())
    with pytest.raises(ModelUnavailable, match=r"refers to .*, which could run code"):
        convert_demucs(hostile, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["a.th"]


@pytest.mark.heavy
def test_what_cannot_be_converted(tmp_path: Path) -> None:
    """Another class, quantized weights, no checkpoint, a folder that is taken: each is told."""
    other = as_on_the_hub(tiny_net(), tmp_path / "a.safetensors", klass="os.system")
    with pytest.raises(ModelUnavailable, match=r"is a os\.system, not an HTDemucs"):
        convert_demucs(other, tmp_path / "made")
    with pytest.raises(ModelUnavailable, match="quantized"):
        convert_demucs(as_pickle(tiny_net(), tmp_path / "q.th", state={"__quantized": True}), tmp_path / "made")
    (tmp_path / "b.th").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelUnavailable, match="no checkpoint"):
        convert_demucs(tmp_path / "b.th", tmp_path / "made")
    with pytest.raises(ModelUnavailable, match="something in"):
        convert_demucs(tmp_path / "b.th", tmp_path)
    assert not (tmp_path / "made").exists()
