"""pocketsphinx: poor, English only, no punctuation; but its weights come inside the wheel, so it needs no download.

Takes windows of speech, gives lower-case words. Knows nothing of why it was chosen; the catalog does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from pocketsphinx import Decoder

from pipeline.catalog import Model
from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.models.base import Batch, Request, Rough, Window, placed
from pipeline.types import Warning, Word

FRAME = 0.01  # seconds
LANGUAGE = "en"

# <s>, <sil>, [NOISE], [SPEECH] are no words; which pronunciation of a word was heard, ``and(2)``, is of no interest.
_NOT_A_WORD = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_PRONUNCIATION = re.compile(r"\(\d+\)$")


def load_sphinx() -> Decoder:
    """The decoder, warm. `ModelUnavailable` if the weights in the wheel cannot be read."""
    try:
        return Decoder(loglevel="FATAL", logfn="/dev/null")
    except (RuntimeError, OSError) as error:
        hint = "Reinstall it: `pip install --force-reinstall pocketsphinx`."
        raise ModelUnavailable(f"pocketsphinx cannot be loaded: {error}", hint) from error


class SphinxRecogniser:
    """One warm decoder; each batch is one window."""

    punctuates = False
    fills_windows = False  # measured: it hears worse when utterances are put together

    def __init__(self, model: Model, decoder: Decoder) -> None:
        self.model = model
        self._decoder = decoder

    def check(self, request: Request) -> tuple[Warning, ...]:
        if request.language is not None and not _is_english(request.language):
            raise _english_only(f"language: {request.language}")
        if request.detect:
            raise _english_only("detect_language")
        if request.task == "translate":
            raise _english_only("task: translate")
        return tuple(
            Warning(parameter=name, type="unsupported_option", message=f"{name} has no effect: the model is sphinx.")
            for name, given in (("initial_prompt", request.initial_prompt), ("hotwords", request.hotwords))
            if given
        )

    def warnings(self) -> tuple[Warning, ...]:
        return ()

    def transcribe(self, windows: Sequence[Window], request: Request) -> Iterator[Batch]:
        self.check(request)
        for window in windows:
            yield Batch(words=self._words(window), seconds=window.seconds, language=LANGUAGE)

    def _words(self, window: Window) -> tuple[Word, ...]:
        if window.silent:
            return ()
        pcm = np.rint(np.clip(window.samples, -1, 1) * 32767).astype("<i2").tobytes()
        decoder = self._decoder
        # The decoder carries an estimate of the noise from one utterance to the next, and means of the features too
        # unless it is given the whole utterance. Without both of these lines a window's words depend on the windows
        # before it.
        decoder.reinit_feat()
        decoder.start_utt()
        try:
            decoder.process_raw(pcm, full_utt=True)
        finally:
            decoder.end_utt()
        if decoder.hyp() is None:
            return ()
        return placed(window, [_rough(segment) for segment in decoder.seg() if not _NOT_A_WORD.fullmatch(segment.word)])


def _rough(segment: object) -> Rough:
    word, first, last, probability = (getattr(segment, n) for n in ("word", "start_frame", "end_frame", "prob"))
    return Rough(_PRONUNCIATION.sub("", word).lower(), first * FRAME, (last + 1) * FRAME, probability)


def _is_english(language: str) -> bool:
    return re.split("[-_]", language.strip().lower())[0] == LANGUAGE


def _english_only(option: str) -> OptionsError:
    hint = "Leave the option out, or use a Whisper model (`python -m pipeline fetch large-v3-turbo`)."
    return OptionsError(f"{option} is impossible: the model sphinx knows English only", hint)
