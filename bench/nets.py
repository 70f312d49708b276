"""Models of the stages beside the recogniser without trained weights, as folders that every part of the code takes for
theirs: a separator, an aligner, a Sortformer, a model of voices.

Takes a size, gives a folder of models. Weights are random, so every layer computes what a real one would, and what
comes out means nothing. ``real`` sizes are those of the models that `fetch` brings (HTDemucs, Conformer-CTC Large,
Sortformer v2, TitaNet): the dimensions of their published configurations. ``toy`` is little work, and the tests'
trained miniatures stand in where they are in the tree. ``even`` is the toy with a Sortformer that is as much work for a
second of sound as transcription and alignment by the miniatures are. Knows nothing of what is measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import string
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.speech import ROOT
from bench.table import Row
from pipeline.aligners import RECORD, AlignerModel
from pipeline.beside import Companion, kind_of, look
from pipeline.companions import Companions, companions_in

TRAINED = ROOT / "tests" / "models"
EXTRA = ("torch", "demucs", "nemo", "numba")

_ASR = "nemo.collections.asr"
_MEL: dict[str, Any] = {
    "_target_": f"{_ASR}.modules.AudioToMelSpectrogramPreprocessor", "sample_rate": 16_000, "window_size": 0.025,
    "window_stride": 0.01, "window": "hann", "n_fft": 512, "frame_splicing": 1, "dither": 1e-5,
}  # fmt: skip
_LETTERS = (" ", *string.ascii_lowercase, "'")


@dataclass(frozen=True, slots=True)
class Net:
    """The dimensions of a model in NeMo's words. ``mels``: bands; ``width``, ``layers``, ``heads``: of the encoder,
    with ``channels`` in its subsampling; ``inner``, ``above``: width and layers of a Sortformer's own transformer.
    """

    mels: int
    width: int
    layers: int
    heads: int
    channels: int
    inner: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """``separator``: arguments of an HTDemucs; ``voices``: channels of a TitaNet's blocks, of their last, and of its
    embedding. ``trained``: the kinds of which the tests' miniatures stand in.
    """

    name: str
    separator: dict[str, Any]
    aligner: Net
    sortformer: Net
    voices: tuple[int, int, int]
    trained: frozenset[str] = frozenset({"separator", "aligner", "sortformer", "voices"})


SOURCES = ["drums", "bass", "other", "vocals"]
TINY_SEPARATOR: dict[str, Any] = {
    "sources": SOURCES, "channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 32, "segment": Fraction(39, 10),
}  # fmt: skip
REAL_SEPARATOR: dict[str, Any] = {
    "sources": SOURCES, "channels": 48, "t_layers": 5, "bottom_channels": 512, "segment": Fraction(39, 5),
}  # fmt: skip
_NO_SORTFORMER = frozenset({"separator", "aligner", "voices"})
_ALIGNER, _VOICES = Net(64, 64, 2, 4, 32), (64, 128, 48)

SIZES = {
    size.name: size
    for size in (
        Size("toy", TINY_SEPARATOR, _ALIGNER, Net(40, 64, 3, 4, 24, 48, 2), _VOICES),
        Size("even", TINY_SEPARATOR, _ALIGNER, Net(80, 256, 7, 4, 96, 192, 4), _VOICES, _NO_SORTFORMER),
        Size(
            "real",
            REAL_SEPARATOR,
            Net(80, 512, 18, 8, 512),
            Net(128, 512, 17, 8, 256, 192, 18),
            (1024, 3072, 192),
            trained=frozenset(),
        ),
    )
}


def lacking(has: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None) -> str:
    """Which of the extra's packages is not installed; empty if all are."""
    return next((name for name in EXTRA if not has(name)), "")


def left_out(what: str, missing: str) -> Row:
    """In place of figures that need the extra. ``missing``: which of its packages."""
    return Row(what, f"left out: the extra `models` is not installed ({missing} is missing)")


def shelf_of(size: Size, scratch: Path) -> Path:
    """The folder of models, made in ``scratch`` unless an earlier run left it there."""
    folder = scratch / f"beside-{size.name}"
    if not folder.is_dir():
        partial = scratch / f"beside-{size.name}.{os.getpid()}.partial"
        partial.mkdir(parents=True)
        _fill(size, partial)
        partial.rename(folder)
    return folder


def companions_of(size: Size, scratch: Path) -> Companions:
    """What a job gets that finds these models on its machine. Kinds that it lacks are an error (ValueError)."""
    found = companions_in(str(shelf_of(size, scratch)), scratch / "none")
    if None in (found.separator, found.few, found.many) or not found.aligners:
        raise ValueError(f"not all models of the size {size.name} can be used: {found.problems}")
    return found


def _fill(size: Size, shelf: Path) -> None:
    """The trained ones that there are, and random ones of the kinds that are left."""
    for path in (*sorted(TRAINED.glob("tiny-*")), *sorted(TRAINED.glob("tiny-*/*.nemo"))):
        found = look(path)
        if isinstance(found, Companion | AlignerModel) and kind_of(found) in size.trained:
            (shutil.copy if path.is_file() else shutil.copytree)(path, shelf / path.name)
    there = companions_in(str(shelf), shelf / "none")
    if there.separator is None:
        write_separator(shelf / "separator", size.separator)
    if not there.aligners:
        write_aligner(shelf / "aligner", size.aligner)
    if there.few is None:
        _save("SortformerEncLabelModel", _sortformer(size.sortformer), shelf / "sortformer")
    if there.many is None:
        _save("EncDecSpeakerLabelModel", _voices(*size.voices), shelf / "voices")


def write_separator(folder: Path, arguments: dict[str, Any]) -> Any:
    """An HTDemucs into the new ``folder``; gives the model."""
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    from pipeline.models.demucs import WEIGHTS, write_arguments

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = HTDemucs(**arguments).eval()
    folder.mkdir()
    write_arguments(folder, arguments)
    save_file(net.state_dict(), folder / WEIGHTS)
    return net


def write_aligner(folder: Path, net: Net) -> None:
    """A CTC model of letters into the new ``folder``, with its record."""
    _save("EncDecCTCModel", _aligner(net), folder)
    record = {"backend": "nemo", "file": "aligner.nemo", "languages": ["en"], "licence": "Apache-2.0"}
    (folder / RECORD).write_text(json.dumps(record))


# ── what NeMo makes them of ──────────────────────────────────────────────────────────────────────────────────────────


def _save(kind: str, config: dict[str, Any], folder: Path) -> None:
    """A model of NeMo's class ``kind`` as the one ``.nemo`` in the new ``folder``."""
    from pipeline.models.nemo import module

    torch, models, made = module("torch"), module(f"{_ASR}.models"), module("omegaconf").OmegaConf.create(config)
    folder.mkdir()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # NeMo and torch warn of each other
        torch.manual_seed(0)
        getattr(models, kind)(cfg=made).eval().save_to(str(folder / f"{folder.name}.nemo"))


def _conformer(net: Net, factor: int, subsampling: str, kernel: int) -> dict[str, Any]:
    return {
        "_target_": f"{_ASR}.modules.ConformerEncoder", "feat_in": net.mels, "feat_out": -1, "n_layers": net.layers,
        "d_model": net.width, "subsampling": subsampling, "subsampling_factor": factor,
        "subsampling_conv_channels": net.channels, "causal_downsampling": False, "ff_expansion_factor": 4,
        "self_attention_model": "rel_pos", "n_heads": net.heads, "att_context_size": [-1, -1],
        "att_context_style": "regular", "xscaling": True, "untie_biases": True, "pos_emb_max_len": 5000,
        "conv_kernel_size": kernel, "conv_norm_type": "batch_norm", "dropout": 0.0, "dropout_pre_encoder": 0.0,
        "dropout_emb": 0.0, "dropout_att": 0.0,
    }  # fmt: skip


def _aligner(net: Net) -> dict[str, Any]:
    """Conformer-CTC Large's: a frame every 40 ms. Its tokenizer is left out: letters cost the same."""
    return {
        "sample_rate": 16_000,
        "preprocessor": {**_MEL, "normalize": "per_feature", "features": net.mels},
        "encoder": _conformer(net, 4, "striding", 31),
        "decoder": {
            "_target_": f"{_ASR}.modules.ConvASRDecoder", "feat_in": net.width, "num_classes": len(_LETTERS),
            "vocabulary": list(_LETTERS),
        },
    }  # fmt: skip


def _sortformer(net: Net) -> dict[str, Any]:
    """diar_streaming_sortformer_4spk-v2's: a frame every 80 ms."""
    return {
        "sample_rate": 16_000, "max_num_of_spks": 4, "pil_weight": 0.5, "ats_weight": 0.5, "streaming_mode": True,
        "model_defaults": {"fc_d_model": net.width, "tf_d_model": net.inner},
        "preprocessor": {**_MEL, "normalize": "NA", "features": net.mels},
        "encoder": _conformer(net, 8, "dw_striding", 9),
        "transformer_encoder": {
            "_target_": f"{_ASR}.modules.transformer.transformer_encoders.TransformerEncoder", "num_layers": net.above,
            "hidden_size": net.inner, "inner_size": 4 * net.inner, "num_attention_heads": net.heads,
            "attn_score_dropout": 0.0, "attn_layer_dropout": 0.0, "ffn_dropout": 0.0, "hidden_act": "relu",
            "pre_ln": False, "pre_ln_final_layer_norm": True,
        },
        "sortformer_modules": {
            "_target_": f"{_ASR}.modules.sortformer_modules.SortformerModules", "num_spks": 4, "dropout_rate": 0.0,
            "fc_d_model": net.width, "tf_d_model": net.inner, "subsampling_factor": 8, "spkcache_len": 188,
            "fifo_len": 0, "chunk_len": 188, "spkcache_update_period": 188, "chunk_left_context": 1,
            "chunk_right_context": 1,
        },
        "loss": {"_target_": f"{_ASR}.losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
    }  # fmt: skip


def _voices(width: int, last: int, size: int) -> dict[str, Any]:
    """TitaNet's: separable convolutions with squeeze and excitation, attention over time."""

    def block(kernel: int, filters: int, repeat: int) -> dict[str, Any]:
        return {
            "filters": filters, "repeat": repeat, "kernel": [kernel], "stride": [1], "dilation": [1], "dropout": 0.0,
            "residual": repeat > 1, "separable": True, "se": True, "se_context_size": -1,
        }  # fmt: skip

    blocks = [block(3, width, 1), *(block(kernel, width, 3) for kernel in (7, 11, 15)), block(1, last, 1)]
    return {
        "sample_rate": 16_000,
        "preprocessor": {**_MEL, "normalize": "per_feature", "features": 80},
        "encoder": {
            "_target_": f"{_ASR}.modules.ConvASREncoder", "feat_in": 80, "activation": "relu", "conv_mask": True,
            "jasper": blocks,
        },
        "decoder": {
            "_target_": f"{_ASR}.modules.SpeakerDecoder", "feat_in": last, "num_classes": 16, "pool_mode": "attention",
            "attention_channels": 128, "emb_sizes": size, "angular": True,
        },
        "loss": {"_target_": f"{_ASR}.losses.angularloss.AngularSoftmaxLoss", "scale": 20, "margin": 0.1},
    }  # fmt: skip
