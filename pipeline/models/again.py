"""A window by itself once more, in the ways that Whisper itself falls back to: sequentially, then by sampling.

Takes a window with its plan, gives another attempt at it. All are without hotwords, prompt or other previous text,
because an echo of those is one of the failures to be mended. Whether an attempt is good enough is the quality gate's to
say, and how many are made the recogniser's.

The samples are drawn here. CTranslate2 draws in threads that keep their generator for good (``set_random_seed`` reaches
none that has drawn before), so its samples depend on what the process did earlier; these depend on the window alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from pipeline.models.base import Rough, Samples
from pipeline.models.decoding import BEAM, CONTEXT, Decoded, Plan, Planned, align, encoded_of, to_host

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # after 0.0; Whisper's own
DEPARTURES = 6  # from the likeliest words at most, at one temperature: each costs another run through the window

# Whisper's own thresholds for its sequential mode.
_LOGPROB, _COMPRESSION, _NO_SPEECH = -1.0, 2.4, 0.6


Attempt = Callable[[WhisperModel, Planned], Decoded]


def alone(window: Planned) -> Planned:
    """The window without previous text: for the attempts below."""
    return replace(window, plan=replace(window.plan, before=()))


def with_row(whisper: WhisperModel, window: Planned) -> Planned:
    """With what the encoder makes of the window, from which samples are drawn again and again. `sequential` does not
    use it.
    """
    return replace(window, row=to_host(encoded_of(whisper, [window]))[0])


def sequential(whisper: WhisperModel, window: Planned) -> Decoded:
    """Whisper's own mode: it writes timestamps, and goes on from the last one."""
    tokenizer = window.plan.tokenizer
    segments, _ = whisper.transcribe(
        window.samples,
        language=tokenizer.language_code,
        task="translate" if tokenizer.task is not None and tokenizer.task == tokenizer.translate else "transcribe",
        beam_size=BEAM,
        temperature=[0.0],
        compression_ratio_threshold=_COMPRESSION,
        log_prob_threshold=_LOGPROB,
        no_speech_threshold=_NO_SPEECH,
        condition_on_previous_text=False,
        word_timestamps=True,
        hallucination_silence_threshold=None,
        suppress_tokens=list(window.plan.suppress),
        vad_filter=False,
    )
    found = list(segments)
    weights = [len(segment.tokens) + 1 for segment in found]
    logprobs = [segment.avg_logprob for segment in found]
    return Decoded(
        text="".join(segment.text for segment in found).strip(),
        words=tuple(Rough(w.word, w.start, w.end, w.probability) for one in found for w in one.words or ()),
        logprob=float(np.average(logprobs, weights=weights)) if found else 0.0,
        # Nothing is left of stretches that it took for silence; it says so by giving no segment for them.
        no_speech=max((segment.no_speech_prob for segment in found), default=1.0),
    )


def seed_of(samples: Samples) -> int:
    """A seed that only the sound decides."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(samples).tobytes()).digest()[:8], "big")


def sampled(whisper: WhisperModel, window: Planned, *, temperature: float) -> Decoded:
    """Words drawn at random, the more so the higher the temperature; the same for the same window."""
    encoded = encoded_of(whisper, [window])
    random = np.random.Generator(np.random.Philox(key=[seed_of(window.samples), round(temperature * 10)]))
    tokens, logprob, no_speech = _draw(whisper, encoded, window.plan, temperature, random)
    [words] = align(whisper, encoded, [window], [tokens])
    return Decoded(window.plan.tokenizer.decode(tokens).strip(), words, logprob, no_speech)


def _draw(
    whisper: WhisperModel,
    encoded: ctranslate2.StorageView,
    plan: Plan,
    temperature: float,
    random: np.random.Generator,
) -> tuple[list[int], float, float]:
    """Tokens drawn from the model's distribution at a temperature, their mean log probability, and that of no speech.

    The decoder runs greedily to the end and says how likely each token was at each place. A token is drawn at place
    after place (by the Gumbel-max trick); where one departs from the greedy path, the decoder runs again from there.
    After `DEPARTURES` of them the path is followed to its end.
    """
    eot = plan.tokenizer.eot
    path: list[int] = []
    total, no_speech = 0.0, 0.0
    for run in range(DEPARTURES + 1):
        result = _greedy(whisper, encoded, plan, path)
        if run == 0:
            no_speech = result.no_speech_prob
        greedy = result.sequences_ids[0]
        departed = False
        for place in range(len(path), len(result.logits[0])):
            logits = to_host(result.logits[0][place]).reshape(-1).astype(np.float64)
            follow = greedy[place] if place < len(greedy) else eot
            drawn = int(np.argmax(logits / temperature + random.gumbel(size=logits.shape)))
            departed = drawn != follow and run < DEPARTURES
            token = drawn if departed else follow
            total += float(logits[token] - _log_sum(logits))
            if token == eot:
                return path, total / (len(path) + 1), no_speech
            path.append(token)
            if departed:
                break
        if not departed:  # the decoder has no more places
            break
    return path, total / (len(path) + 1), no_speech


def _greedy(whisper: WhisperModel, encoded: ctranslate2.StorageView, plan: Plan, path: list[int]) -> Any:
    return whisper.model.generate(
        encoded,
        [[*plan.prompt, *path]],
        beam_size=1,
        max_length=CONTEXT,
        return_logits_vocab=True,
        return_no_speech_prob=True,
        suppress_blank=not path,  # a rule for the first token
        suppress_tokens=list(plan.suppress),
        sampling_temperature=0.0,
    )[0]


def _log_sum(logits: NDArray[np.float64]) -> float:
    most = logits.max()
    return float(most + np.log(np.exp(logits - most).sum()))


ATTEMPTS: tuple[Attempt, ...] = (sequential, *(partial(sampled, temperature=t) for t in TEMPERATURES))
"""In their order, until one is good enough. Each takes a window that `alone` gave."""
