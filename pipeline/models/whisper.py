"""Whisper as a recogniser: windows of speech in, punctuated words with times out, none of them made up.

Draws windows a batch at a time, finds the language by a vote, decodes, has the quality gate judge each window, and
decodes again by itself what fails. Memory stays flat: what is held is a batch of windows, and the encoder's output for
the few that voted. Knows nothing of how windows were found, nor where the weights lie; `LoadedWhisper` does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from pipeline.catalog import Model
from pipeline.errors import OptionsError
from pipeline.models.again import ATTEMPTS, Attempt, alone, sequential, with_row
from pipeline.models.base import Batch, Request, Window, placed
from pipeline.models.decoding import Decoded, Heard, Planned, decode, hear
from pipeline.models.gate import GATE, Evidence, Gate, Verdict, without_loops
from pipeline.models.language import FIRST, MOST, Ballot, code_of, decided, spread, vote
from pipeline.models.loading import LoadedWhisper
from pipeline.models.prompts import Prompts, knows
from pipeline.options.values import MULTI
from pipeline.types import Warning, Word

log = logging.getLogger(__name__)

ENGLISH = "en"
TOLD = 5  # doubtful stretches that the warning names
PATIENCE = 3  # attempts in a row that bring nothing better: more of them seldom do, except out of a loop

Known = dict[int, Heard]
"""What the encoder made of windows, by their place among the recording's, until they are decoded."""


class WhisperRecogniser:
    """Loaded weights behind the `Recogniser` protocol. ``gate``: what is believed of a decoder."""

    punctuates = True
    fills_windows = True  # its encoder pads everything to 30 s

    def __init__(self, model: Model, loaded: LoadedWhisper, gate: Gate = GATE) -> None:
        self.model = model
        self._loaded = loaded
        self._gate = gate
        self._doubtful: list[tuple[float, float]] = []  # seconds into the recording

    def check(self, request: Request) -> tuple[Warning, ...]:
        whisper = self._loaded.whisper
        if not whisper.model.is_multilingual:
            self._check_english_only(request)
        for option, language in [("language", request.language), *(("detect_language", c) for c in request.candidates)]:
            if language not in (None, MULTI) and not knows(whisper, code_of(language)):
                raise OptionsError(
                    f"{option}: the model {self.model.name} does not know the language {language!r}",
                    f"It knows {', '.join(sorted(c for c in whisper.supported_languages if knows(whisper, c)))}.",
                )
        return tuple(
            Warning(parameter=name, type="truncated", message=f"{name} is too long for the model: {n} tokens left out.")
            for name, n in Prompts(whisper, request).dropped.items()
            if n
        )

    def _check_english_only(self, request: Request) -> None:
        hint = f"Leave the option out, or use a multilingual model: {self.model.name} is not one."
        for option, wanted in (("detect_language", request.detect), ("task: translate", request.task == "translate")):
            if wanted:
                raise OptionsError(f"{option} is impossible: the model {self.model.name} knows English only", hint)
        if request.language is not None and code_of(request.language) != ENGLISH:
            message = f"language: {request.language} is impossible: the model {self.model.name} knows English only"
            raise OptionsError(message, hint)

    def warnings(self) -> tuple[Warning, ...]:
        return (*self._loaded.warnings(), *_doubts(self._doubtful))

    def transcribe(self, windows: Sequence[Window], request: Request) -> Iterator[Batch]:
        self.check(request)
        prompts = Prompts(self._loaded.whisper, request)
        known: Known = {}
        language, confidence = self._language(windows, request, known)
        done = 0
        while done < len(windows):
            size = self._loaded.batch(request.batch_size)  # each time: it is smaller once memory has run out
            group = {n: windows[n] for n in range(done, min(done + size, len(windows)))}
            spoken = {n: window for n, window in group.items() if not window.silent}
            if request.language == MULTI:
                self._hear(spoken, request, known)
            heard = {n: known.pop(n, None) for n in spoken}
            codes = {n: language or (found.languages[0][0] if found else ENGLISH) for n, found in heard.items()}
            planned = [
                Planned(window.samples, prompts.plan(codes[n]), found.row if (found := heard[n]) else None)
                for n, window in spoken.items()
            ]
            words: list[Word] = []
            decoded = self._decode(planned, request)
            for (n, window), plan, first in zip(spoken.items(), planned, decoded, strict=True):
                named = _written(codes[n], request) if request.language == MULTI else None
                words += self._believed(window, plan, first, named)
            done += len(group)
            yield Batch(tuple(words), sum(window.seconds for window in group.values()), language, confidence)

    def _decode(self, planned: Sequence[Planned], request: Request) -> list[Decoded]:
        """Each window's words as the decoder gives them, in batches that fit into memory."""
        return self._loaded.run(planned, lambda batch: decode(self._loaded.whisper, batch), batch=request.batch_size)

    # ── the language ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _language(self, windows: Sequence[Window], request: Request, known: Known) -> tuple[str | None, float | None]:
        """The language's code, and how sure the vote is if it was not told. None: each window has its own, or nobody
        speaks.
        """
        if request.language == MULTI:
            return None, None
        if request.language is not None or not self._loaded.whisper.model.is_multilingual:
            spoken = any(not windows[n].silent for n in range(len(windows)))
            return (code_of(request.language or ENGLISH) if spoken else None), None
        ballots: list[Ballot] = []
        asked: dict[int, Window] = {}
        for n in spread(len(windows)):
            if (window := windows[n]).silent:
                continue
            asked[n] = window
            if len(ballots) + len(asked) in (FIRST, MOST):
                ballots += self._ballots(asked, request, known)
                asked = {}
                if len(ballots) == MOST or decided(ballots):
                    break
        ballots += self._ballots(asked, request, known)
        return vote(ballots, {code_of(c) for c in request.candidates}) if ballots else (None, None)

    def _ballots(self, asked: dict[int, Window], request: Request, known: Known) -> list[Ballot]:
        self._hear(asked, request, known)
        return [Ballot(_spoken(window), known[n].languages) for n, window in asked.items()]

    def _hear(self, windows: dict[int, Window], request: Request, known: Known) -> None:
        """Encode those windows and find each one's language; the encoder's output is used again to decode them."""
        found = self._loaded.run(
            [window.samples for window in windows.values()],
            lambda batch: hear(self._loaded.whisper, batch),
            batch=request.batch_size,
        )
        known.update(zip(windows, found, strict=True))

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _believed(self, window: Window, planned: Planned, first: Decoded, language: str | None) -> list[Word]:
        """The words of a window that the gate lets through: of the first attempt, or of the best of several."""
        decoded, verdict = first, self._gate.judge(_evidence(window, first))
        if verdict.faults:
            decoded, verdict = self._again(window, planned, first, verdict)
        if verdict.silent:
            if decoded.text:
                log.debug("nobody speaks at %.1f s, where %r was decoded", window.start, decoded.text)
            return []
        words = placed(window, without_loops(decoded.words))
        return [word.model_copy(update={"language": language}) for word in words] if language else list(words)

    def _again(self, window: Window, planned: Planned, first: Decoded, verdict: Verdict) -> tuple[Decoded, Verdict]:
        """The first attempt that passes or finds silence, else the best of all: then its words are doubtful."""
        log.debug("%.1f s is decoded again: %s", window.start, ", ".join(verdict.faults))
        best, found, vain = first, verdict, 0
        single = alone(planned)
        for attempt in ATTEMPTS:
            if vain >= PATIENCE and not found.repeats:
                break
            if attempt is not sequential and single.row is None:
                [single] = self._loaded.run([single], lambda one: [with_row(self._loaded.whisper, one[0])])
            [decoded] = self._loaded.run([single], partial(self._one, attempt))
            if not decoded.text:  # of a stretch that it leaves out the decoder gives no measures
                decoded = replace(decoded, no_speech=first.no_speech)
            verdict = self._gate.judge(_evidence(window, decoded))
            better = verdict.silent or verdict.rank > found.rank
            vain = 0 if better else vain + 1
            if better:
                best, found = decoded, verdict
            if verdict.silent or (verdict.passed and decoded.text):
                return best, found
        if self._gate.invented(_evidence(window, best)):
            return best, replace(found, silent=True)
        self._doubtful.append((window.start, window.end))
        return best, found

    def _one(self, attempt: Attempt, windows: Sequence[Planned]) -> list[Decoded]:
        return [attempt(self._loaded.whisper, windows[0])]


def _evidence(window: Window, decoded: Decoded) -> Evidence:
    speech = None
    if window.speech is not None:
        speech = tuple((start - window.start, end - window.start) for start, end in window.speech)
    return Evidence(decoded.text, decoded.words, decoded.logprob, decoded.no_speech, speech)


def _written(code: str, request: Request) -> str:
    """The language of the words: what is translated is English, whatever was spoken."""
    return ENGLISH if request.task == "translate" else code


def _spoken(window: Window) -> float:
    """Seconds of speech in it."""
    return window.seconds if window.speech is None else sum(end - start for start, end in window.speech)


def _doubts(stretches: Sequence[tuple[float, float]]) -> tuple[Warning, ...]:
    """One warning for all of them: a reader wants to know where to listen again, not how often something was tried."""
    if not stretches:
        return ()
    places = ", ".join(f"{start:.0f}-{end:.0f} s" for start, end in sorted(stretches)[:TOLD])
    more = f" and {len(stretches) - TOLD} more" if len(stretches) > TOLD else ""
    message = f"What was said could not be made out with confidence in some stretches: {places}{more}."
    return (Warning(parameter="transcript", type="low_confidence", message=message),)
