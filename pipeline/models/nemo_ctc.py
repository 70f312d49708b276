"""A CTC model of NVIDIA's NeMo as an aligner's network: of letters (`EncDecCTCModel`) or of subwords
(`EncDecCTCModelBPE`).

Takes an `AlignerModel` and a rung, gives a `Network`. What a ``.nemo`` may hold is `pipeline.models.nemo`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.aligners import AlignerModel
from pipeline.errors import ModelUnavailable
from pipeline.models.aligner import PURPOSE, Columns, Samples, Scores, letters, tensors
from pipeline.models.failures import is_of_the_gpu, is_out_of_memory, reason
from pipeline.models.ladder import Rung
from pipeline.models.nemo import Kind, NemoModel, configuration, load, module, release
from pipeline.types import SAMPLE_RATE

_MODULES = "nemo.collections.asr.modules."
_PARTS = frozenset(
    _MODULES + name
    for name in ("AudioToMelSpectrogramPreprocessor", "ConvASREncoder", "ConformerEncoder", "ConvASRDecoder")
)
LETTERS = Kind("EncDecCTCModel", _PARTS, PURPOSE)
SUBWORDS = Kind("EncDecCTCModelBPE", _PARTS, PURPOSE)

_HINT = "Use another aligner for this language."

_PROBE = 10 * SAMPLE_RATE  # samples; long enough to tell a frame's length from


def open_nemo_ctc(model: AlignerModel, rung: Rung) -> NemoCtc:
    """See `pipeline.models.aligner.open_network`."""
    module("nemo.collections.asr.models", PURPOSE)  # what is not installed is told before what is damaged
    file = NemoModel(path=model.weights, info=model.info)
    config = configuration(file)
    kind = _part(config, "tokenizer").get("type", "bpe")
    if kind != "bpe":  # WordPiece is looked up on the network
        raise ModelUnavailable(f"the aligner {model.info.name} has a tokenizer of the type {kind}, not bpe", _HINT)
    rate = _part(config, "preprocessor").get("sample_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ModelUnavailable(f"the aligner {model.info.name} is for {rate} Hz, not {SAMPLE_RATE}", _HINT)
    built = load(file, SUBWORDS if "tokenizer" in config else LETTERS, rung)
    try:
        return NemoCtc(built)
    except Exception as error:  # what a strange configuration makes of a model may fail anyhow
        if is_out_of_memory(error) or (rung.device != "cpu" and is_of_the_gpu(error)):
            raise
        raise ModelUnavailable(f"the aligner {model.info.name} cannot hear anything: {reason(error)}", _HINT) from error


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


class NemoCtc:
    """The model on its device. Not to be used by two threads at once."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.columns = _columns(model)
        self.step = self._frame()

    def hear(self, pieces: Sequence[Samples]) -> list[Scores]:
        import torch

        with torch.inference_mode():
            signal, lengths = tensors(pieces, self._model.device)
            heard, frames, _ = self._model(input_signal=signal, input_signal_length=lengths)
            found = heard.float().cpu().numpy()
        return [one[:count].copy() for one, count in zip(found, frames.tolist(), strict=True)]

    def release(self) -> None:
        release(self._model)

    def _frame(self) -> float:
        """Seconds: the features' times what the encoder makes one of, which each class of encoder says otherwise."""
        import torch

        with torch.inference_mode():
            signal = torch.zeros(1, _PROBE, device=self._model.device)
            _, frames, _ = self._model(
                input_signal=signal, input_signal_length=torch.tensor([_PROBE], device=signal.device)
            )
        stride = float(self._model.cfg.preprocessor.window_stride)
        return stride * round(_PROBE / SAMPLE_RATE / stride / int(frames[0]))


def _columns(model: Any) -> Columns:
    labels = [str(label) for label in model.decoder.vocabulary]
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        known, separator = letters(labels)
        return Columns(known, len(labels), separator)
    known = {letter: 0 for label in labels for letter in label if letter != "▁" and not label.startswith("<")}
    return Columns(known, len(labels), None, lambda word: [int(token) for token in tokenizer.text_to_ids(word)])
