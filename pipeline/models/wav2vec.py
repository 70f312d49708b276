"""A wav2vec 2.0 pipeline of torchaudio as an aligner's network, on a GPU.

Takes an `AlignerModel`, whose record names the pipeline and whose folder has its weights, and a rung; gives a
`Network`. torchaudio fetches what it does not find, so the file must be there under the name it would give it. PyPI's
builds of torchaudio do not import beside a CPU build of torch, so it is imported here, for a GPU, alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pipeline.aligners import AlignerModel
from pipeline.errors import ModelUnavailable
from pipeline.models.aligner import Columns, Samples, Scores, letters
from pipeline.models.failures import is_of_the_gpu, is_out_of_memory, reason
from pipeline.models.ladder import Rung
from pipeline.types import SAMPLE_RATE

HINT = "Install it: `pip install 'dropscribe[gpu]'`."

_STEP = 320 / SAMPLE_RATE  # seconds: the product of the convolutions' strides (5, 2, 2, 2, 2, 2, 2), in samples


def open_wav2vec(model: AlignerModel, rung: Rung) -> Wav2Vec:
    """See `pipeline.models.aligner.open_network`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchaudio
    except (ImportError, OSError) as error:  # OSError: its library and torch's do not match
        raise ModelUnavailable(f"alignment with {model.info.name} needs torchaudio: {reason(error)}", HINT) from error
    bundle = getattr(torchaudio.pipelines, model.record.bundle, None)
    if bundle is None or type(bundle).__name__ != "Wav2Vec2ASRBundle":
        raise ModelUnavailable(f"torchaudio has no pipeline {model.record.bundle} that writes letters")
    if str(bundle._path).rpartition("/")[2] != model.record.file:
        raise ModelUnavailable(f"the weights of {model.record.bundle} are called {bundle._path}")
    if int(bundle.sample_rate) != SAMPLE_RATE:
        raise ModelUnavailable(f"{model.record.bundle} is for {bundle.sample_rate} Hz, not {SAMPLE_RATE}")
    if not model.weights.is_file():
        raise ModelUnavailable(f"the aligner {model.info.name} is incomplete: there is no {model.weights}")
    options = {"model_dir": str(model.folder), "map_location": "cpu", "weights_only": True, "progress": False}
    try:
        network = bundle.get_model(dl_kwargs=options).eval().requires_grad_(False).to(rung.device)
    except Exception as error:  # of a damaged file torch raises whatever it likes
        if is_out_of_memory(error) or is_of_the_gpu(error):
            raise
        raise ModelUnavailable(f"the aligner {model.info.name} cannot be loaded: {reason(error)}") from error
    return Wav2Vec(network, bundle.get_labels(), rung.device)


class Wav2Vec:
    """The model on its device. Not to be used by two threads at once."""

    step = _STEP

    def __init__(self, model: Any, labels: Sequence[str], device: str) -> None:
        self._model = model
        self._device = device
        known, separator = letters(labels[1:], ("|",))  # the first is the blank, under a name that may be a letter
        shifted = {label: column + 1 for label, column in known.items()}
        self.columns = Columns(shifted, 0, None if separator is None else separator + 1)

    def hear(self, pieces: Sequence[Samples]) -> list[Scores]:
        """One by one: these models normalise over all that they are given, so the filling would be heard."""
        import torch

        found = []
        with torch.inference_mode():
            for piece in pieces:
                heard, _ = self._model(torch.from_numpy(piece)[None].to(self._device))
                found.append(torch.log_softmax(heard[0].float(), dim=-1).cpu().numpy())
        return found

    def release(self) -> None:
        import torch

        self._model.to("meta")
        torch.cuda.empty_cache()
