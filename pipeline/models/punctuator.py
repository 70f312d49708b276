"""A model that restores punctuation, kept warm between jobs: words in, the mark behind each of them out.

Takes a `Punctuator` and texts of words. They are given to the model in windows that overlap, so that each word is
judged with what goes before it and what follows. Where the model lies may change under a job, when memory runs out: see
`pipeline.models.ladder`. transformers and torch are imported when it is loaded, weights are safetensors, and nothing is
asked of the network. Knows nothing of times, or of which words need marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.devices import DeviceSettings, in_use
from pipeline.errors import ModelUnavailable
from pipeline.models.failures import is_of_the_gpu, is_out_of_memory, reason
from pipeline.models.ladder import Ladder, OnLadder, Rung
from pipeline.models.nemo import module, release, rungs
from pipeline.punctuators import TOKENIZER, Punctuator, check_unchanged

WINDOW, CONTEXT = 120, 30  # words heard at once, and of them those at either end that other windows judge
CPU_BATCH, GPU_BATCH = 4, 32  # windows
PURPOSE = "punctuation"
_LONGEST = 500  # tokens: what such models take is 512, their own marks included


class _Loaded(NamedTuple):
    net: Any
    tokenizer: Any

    @property
    def device(self) -> Any:
        return self.net.device

    def to(self, device: str) -> None:
        self.net.to(device)


class LoadedPunctuator(OnLadder[_Loaded]):
    """A punctuator in memory, on the rung of its ladder that fits."""

    def __init__(self, model: Punctuator, settings: DeviceSettings | None = None) -> None:
        self._model = model
        settings = settings or DeviceSettings()
        steps = rungs(settings, CPU_BATCH, GPU_BATCH, PURPOSE)
        super().__init__(Ladder(steps, self._load, release, barring=partial(in_use, settings)))

    def marks(self, words: Sequence[str]) -> list[str]:
        """The mark behind each word, empty for none. `OutOfMemory`, `DeviceLost`."""
        if not words:
            return []
        step = WINDOW - 2 * CONTEXT
        starts = range(0, max(1, len(words) - 2 * CONTEXT), step)
        windows = [words[start : start + WINDOW] for start in starts]
        judged = self._ladder.run(windows, self._judged)
        found = [""] * len(words)
        for start, marks in zip(starts, judged, strict=True):
            first = CONTEXT if start else 0
            found[start + first : start + len(marks)] = marks[first:]  # the next window overwrites the last words
        return found

    def _judged(self, model: _Loaded, windows: Sequence[Sequence[str]]) -> list[list[str]]:
        torch = module("torch", PURPOSE)
        texts = [model.tokenizer.encode(list(window), is_pretokenized=True) for window in windows]
        longest = min(_LONGEST, max(len(text.ids) for text in texts))
        pad = int(getattr(model.net.config, "pad_token_id", 0) or 0)
        ids = torch.full((len(texts), longest), pad)
        mask = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, text in enumerate(texts):
            kept = text.ids[:longest]
            ids[row, : len(kept)] = torch.tensor(kept)
            mask[row, : len(kept)] = 1
        with torch.inference_mode():
            logits = model.net(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        classes = logits.argmax(dim=-1).cpu().tolist()
        return [
            self._of_words(text, row, len(window)) for text, row, window in zip(texts, classes, windows, strict=True)
        ]

    def _of_words(self, text: Any, classes: Sequence[int], count: int) -> list[str]:
        """The class of a word is that of its last token."""
        found = [""] * count
        for nth, word in enumerate(text.word_ids[: len(classes)]):
            if word is not None:
                found[word] = self._model.marks[classes[nth]]
        return found

    def _load(self, rung: Rung) -> _Loaded:
        from tokenizers import Tokenizer

        transformers = module("transformers", PURPOSE)
        transformers.utils.logging.disable_progress_bar()
        folder = Path(self._model.folder)
        check_unchanged(self._model)
        try:
            net = transformers.AutoModelForTokenClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
            # The file may keep what its maker once used: windows would be cut short, and the filling be read as text.
            tokenizer.no_truncation()
            tokenizer.no_padding()
            if net.config.num_labels != len(self._model.marks):
                raise ValueError(f"it has {net.config.num_labels} classes, its labels are {len(self._model.marks)}")
            room = getattr(net.config, "max_position_embeddings", None) or 0  # some have no limit, and say so or not
            if 0 < room < _LONGEST:
                raise ValueError(f"it takes {room} tokens at once, fewer than {_LONGEST}")
            return _Loaded(net.eval().requires_grad_(False).to(rung.device), tokenizer)
        except Exception as error:  # a damaged file makes all of them raise whatever they like
            if is_out_of_memory(error) or (rung.device != "cpu" and is_of_the_gpu(error)):
                raise
            raise ModelUnavailable(
                f"the model {self._model.info.name} cannot be loaded from {folder}: {reason(error)}",
                "Fetch it again: the files are damaged, or another kind of model.",
            ) from error
