"""Whisper through faster-whisper's batched pipeline: windows of speech in, punctuated words with times out.

Weights come from a local folder and nothing here touches the network. Knows nothing of how windows were found. The
hour-long recording is fed a batch of windows at a time, so memory stays flat.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib import util
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel

from pipeline.catalog import Model
from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.models.base import LONGEST_WINDOW, Batch, Request, Rough, Samples, Window, placed
from pipeline.options.values import MULTI
from pipeline.types import SAMPLE_RATE, Warning, Word
from pipeline.weights import NEEDED

log = logging.getLogger(__name__)

BATCH = {"cpu": 4, "cuda": 16}  # windows at once, where the request does not say
PROMPT_TOKENS = 223  # half of Whisper's context of 448, less the token that opens the prompt
NO_SPEECH = (
    0.6  # the probability of silence above which a window that was also decoded with little confidence is dropped …
)
LOW_LOGPROB = (
    -1.0
)  # … that is, with less than this as the mean log probability of its tokens; both are Whisper's own defaults

# A pause before each window's slot, in seconds. faster-whisper shortens a long first word after a pause of more than
# four times the median word (0.7 s at most) since the previous window in the batch: with this much before each, the
# rule treats all alike, and a window's times do not depend on its neighbours.
LEAD = 3

_FIGURES = frozenset("0123456789%$£€")
_CODES = {"nb": "no", "iw": "he", "fil": "tl", "jv": "jw"}  # other codes for languages that Whisper calls differently


def load_whisper(model: Model, device: str = "auto", compute_type: str | None = None) -> WhisperModel:
    """The weights, loaded. `ModelUnavailable` if they are missing or damaged, or if the device cannot be used."""
    folder = Path(model.folder or "")
    # With no tokenizer in the folder faster-whisper would ask the hub for one.
    if absent := [name for name in NEEDED if not (folder / name).is_file()]:
        raise ModelUnavailable(f"the model {model.name} is incomplete: {folder} has no {' and no '.join(absent)}")
    try:
        if device == "auto":
            device = "cuda" if _cuda() else "cpu"
        kind = compute_type or _best_type(device)
        whisper = WhisperModel(str(folder), device=device, compute_type=kind, local_files_only=True)
        _try_out(whisper)
    except Exception as error:  # the native library and the tokenizer raise whatever they like
        raise _unavailable(model, device, error) from error
    log.info("loaded %s on %s as %s", model.name, device, kind)
    return whisper


def _best_type(device: str) -> str:
    wanted = ("float16", "int8_float32") if device == "cuda" else ("int8_float32", "int8")
    return next((t for t in wanted if t in ctranslate2.get_supported_compute_types(device)), "float32")


def _cuda() -> bool:
    if ctranslate2.get_cuda_device_count() == 0:
        return False
    _preload_cublas()
    return True


def _preload_cublas() -> None:
    """ctranslate2 opens libcublas.so.12 by name; one that only the wheel nvidia-cublas-cu12 has must be open then."""
    try:
        spec = util.find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("libcublasLt.so.12", "libcublas.so.12"):
            library = Path(root) / "lib" / name
            if library.is_file():
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _try_out(whisper: WhisperModel) -> None:
    """One encode: a broken GPU set-up, or weights and features that do not fit, show now and not in the first job."""
    mels = whisper.feature_extractor.mel_filters.shape[0]
    if mels != whisper.model.n_mels:
        raise ValueError(f"preprocessor_config.json gives {mels} mel bands, the weights want {whisper.model.n_mels}")
    whisper.encode(np.zeros((mels, whisper.feature_extractor.nb_max_frames), dtype=np.float32))


def _unavailable(model: Model, device: str, error: Exception) -> ModelUnavailable:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if device == "cuda" and any(word in reason.lower() for word in ("cuda", "cublas", "cudnn", "library")):
        hint = "Check the driver with nvidia-smi and install nvidia-cublas-cu12, or run on the CPU."
        return ModelUnavailable(f"the GPU cannot be used: {reason}", hint)
    return ModelUnavailable(f"the model {model.name} cannot be loaded from {model.folder}: {reason}")


class WhisperRecogniser:
    """Loaded weights behind the `Recogniser` protocol."""

    punctuates = True
    fills_windows = True  # its encoder pads everything to 30 s

    def __init__(self, model: Model, whisper: WhisperModel) -> None:
        self.model = model
        self._whisper = whisper
        self._pipeline = BatchedInferencePipeline(whisper)

    def check(self, request: Request) -> tuple[Warning, ...]:
        if not self._whisper.model.is_multilingual:
            self._check_english_only(request)
        for option, language in [("language", request.language), *(("detect_language", c) for c in request.candidates)]:
            if language not in (None, MULTI) and not self._knows(_code(language)):
                raise OptionsError(
                    f"{option}: the model {self.model.name} does not know the language {language!r}",
                    f"It knows {', '.join(sorted(c for c in self._whisper.supported_languages if self._knows(c)))}.",
                )
        _, _, dropped = self._prompt(request)
        return tuple(
            Warning(parameter=name, type="truncated", message=f"{name} is too long for the model: {n} tokens left out.")
            for name, n in dropped.items()
            if n
        )

    def _check_english_only(self, request: Request) -> None:
        hint = f"Leave the option out, or use a multilingual model: {self.model.name} is not one."
        for option, wanted in (("detect_language", request.detect), ("task: translate", request.task == "translate")):
            if wanted:
                raise OptionsError(f"{option} is impossible: the model {self.model.name} knows English only", hint)
        if request.language is not None and _code(request.language) != "en":
            message = f"language: {request.language} is impossible: the model {self.model.name} knows English only"
            raise OptionsError(message, hint)

    def _knows(self, code: str) -> bool:
        if code not in self._whisper.supported_languages:
            return False
        # Cantonese, for one, is a language of faster-whisper's that only large-v3 has a token for.
        return (
            not self._whisper.model.is_multilingual or self._whisper.hf_tokenizer.token_to_id(f"<|{code}|>") is not None
        )

    def transcribe(self, windows: Iterable[Window], request: Request) -> Iterator[Batch]:
        self.check(request)
        size = max(1, request.batch_size or BATCH.get(self._whisper.model.device, 1))
        language, confidence = None, None
        if request.language != MULTI:
            heard, windows = _first_speech(iter(windows))
            if heard is not None:
                language, confidence = self._language(heard, request)
        windows = iter(windows)
        while group := list(itertools.islice(windows, size)):
            spoken = [w for w in group if not w.silent]
            if request.language == MULTI:
                words = self._words_of_many(spoken, request)
            else:
                words = self._words(spoken, language or "en", request)
            yield Batch(tuple(itertools.chain(*words)), sum(w.seconds for w in group), language, confidence)

    def _language(self, heard: Samples, request: Request) -> tuple[str, float | None]:
        """The language's code, and how sure the model is if it was not told."""
        if not self._whisper.model.is_multilingual:
            return "en", None
        if request.language is not None:
            return _code(request.language), None
        _, _, likely = self._whisper.detect_language(audio=heard)
        among = {_code(c) for c in request.candidates} or None
        code, confidence = next((c, p) for c, p in likely if among is None or c in among)
        return code, float(confidence)

    def _words_of_many(self, windows: Sequence[Window], request: Request) -> list[tuple[Word, ...]]:
        """The words of each window in the language that is heard in it; each word names its language.

        The library's own flag for this puts each window's language into its prompt alone: it does not tell which, and
        splits every window's text into words, and aligns them, as if it were all in one language.
        """
        codes = [self._whisper.detect_language(audio=window.samples)[0] for window in windows]
        found: list[tuple[Word, ...]] = [()] * len(windows)
        for code in dict.fromkeys(codes):
            places = [place for place, other in enumerate(codes) if other == code]
            spoken = "en" if request.task == "translate" else code
            for place, words in zip(places, self._words([windows[n] for n in places], code, request), strict=True):
                found[place] = tuple(word.model_copy(update={"language": spoken}) for word in words)
        return found

    def _words(self, windows: Sequence[Window], language: str, request: Request) -> list[tuple[Word, ...]]:
        """The words of each of up to a batch of windows, decoded at once."""
        if not windows:
            return []
        audio, clips, slots = _laid_out(windows)
        prompt, hotwords, _ = self._prompt(request)
        segments, _ = self._pipeline.transcribe(
            audio,
            language=language,
            task=request.task,
            initial_prompt=prompt,
            hotwords=hotwords,
            vad_filter=False,
            clip_timestamps=clips,
            word_timestamps=True,
            batch_size=len(clips),
            suppress_tokens=[-1, *(self._numerals() if request.suppress_numerals else ())],  # -1: the library's own
        )
        rough: dict[int, list[Rough]] = {slot: [] for slot in slots}
        for segment in segments:
            slot = segment.seek // self._whisper.frames_per_second
            # The batched pipeline takes Whisper's rule against words made up on silence as an argument, and ignores it.
            if segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < LOW_LOGPROB:
                continue
            rough[slot] += [Rough(w.word, w.start - slot, w.end - slot, w.probability) for w in segment.words or ()]
        return [placed(window, rough[slot]) for slot, window in zip(slots, windows, strict=True)]

    def _numerals(self) -> list[int]:
        """The tokens that write a number in figures, or what stands beside one: without them it is spelt out."""
        tokenizer = self._whisper.hf_tokenizer
        text_tokens = range(tokenizer.token_to_id("<|endoftext|>"))  # behind them come timestamps, <|0.02|>
        return [token for token in text_tokens if not _FIGURES.isdisjoint(tokenizer.decode([token]))]

    def _prompt(self, request: Request) -> tuple[str | None, str | None, dict[str, int]]:
        """Initial prompt and hotwords, cut to what fits beside each other, and how many tokens of each were left out.

        faster-whisper lets each have half of the context, and fails when both take it.
        """
        hotwords, lost_hotwords = self._cut(", ".join(request.hotwords), PROMPT_TOKENS, keep_end=False)
        room = PROMPT_TOKENS - len(self._tokens(hotwords))
        prompt, lost_prompt = self._cut(request.initial_prompt or "", room, keep_end=True)
        return prompt or None, hotwords or None, {"hotwords": lost_hotwords, "initial_prompt": lost_prompt}

    def _cut(self, text: str, room: int, *, keep_end: bool) -> tuple[str, int]:
        # A prompt that spells a special token would be read as one, and could end the transcript before it began.
        text = text.replace("<|", "< |").strip()
        tokens = self._tokens(text)
        lost = max(0, len(tokens) - room)
        if lost:
            kept = tokens[lost:] if keep_end else tokens[:room]
            text = self._whisper.hf_tokenizer.decode(kept).strip() if kept else ""
        return text, lost

    def _tokens(self, text: str) -> list[int]:
        if not text:
            return []
        tokens: Any = self._whisper.hf_tokenizer.encode(f" {text}", add_special_tokens=False).ids
        return list(tokens)


def _code(language: str) -> str:
    """Whisper's code for what a person wrote: ``pt-BR`` is ``pt``."""
    base = language.strip().lower().replace("_", "-").split("-")[0]
    return _CODES.get(base, base)


def _first_speech(windows: Iterator[Window]) -> tuple[Samples | None, Iterator[Window]]:
    """Up to 30 s of the first windows' sound, None if there is none; and all the windows, those included.

    How much is heard does not depend on the batch size: the language must not either.
    """
    drawn: list[Window] = []
    pieces: list[Samples] = []
    for window in windows:
        drawn.append(window)
        if not window.silent:
            pieces.append(window.samples)
        if sum(map(len, pieces)) >= LONGEST_WINDOW:
            break
    heard = np.concatenate(pieces)[:LONGEST_WINDOW] if pieces else None
    return heard, itertools.chain(drawn, windows)


def _laid_out(windows: Sequence[Window]) -> tuple[Samples, list[dict[str, float]], list[int]]:
    """The windows in one array, the clips (seconds) that find them in it, and the second where each one's slot begins.

    Slots begin on whole seconds, because faster-whisper reckons a clip's start in frames of 10 ms, rounded down. Half a
    sample is added to each time, because it makes samples of seconds by rounding down as well.
    """
    slots: list[int] = []
    now = 0
    for window in windows:
        slots.append(now + LEAD)
        now += LEAD + math.ceil(window.seconds)
    audio = np.zeros(now * SAMPLE_RATE, dtype=np.float32)
    clips = []
    for slot, window in zip(slots, windows, strict=True):
        first = slot * SAMPLE_RATE
        last = first + len(window.samples)
        audio[first:last] = window.samples
        clips.append({"start": (first + 0.5) / SAMPLE_RATE, "end": (last + 0.5) / SAMPLE_RATE})
    return audio, clips, slots
