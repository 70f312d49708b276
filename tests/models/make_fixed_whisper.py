"""Build a tiny Whisper by hand, whose answers are known: no training, no download, under a megabyte, made in a moment.

It is a Whisper in every respect that the code around it can see: CTranslate2's own model class and format, a tokenizer
with Whisper's special tokens, log-mel in, beam search, language detection, cross-attention that word times are read
from. Its weights are not learned but written down, and it knows nothing of speech. What it does:

- A second of a window is *loud* if its mean log-mel energy is over a threshold for most of it. The words are the NATO
  alphabet: as long as the n-th second is loud, the n-th word is said, in that second; the first second that is not loud
  ends the transcript. So 3.2 s of noise are "Alpha Bravo. Charlie", with word times 0-1, 1-2 and 2-3 s.
  With ``slow_start`` the first word takes two seconds, both of which must be loud, and the others come a second later.
  With ``figures`` it prefers to say "2" where it could say "Bravo."
- The language is English if the first second has more energy in the low bands, German if it has more in the high ones.
- A window that begins without sound gets no words, and a high probability of no speech.

How: each token that matters has one row of a Hadamard matrix as its embedding, so tokens are orthogonal, keep their
norm under layer normalisation, and survive int8. The encoder's position encodings name the second that a frame is in;
the only attention that is not zero is the cross-attention, whose query is "the second after mine", by a table from
token to second. The value that it fetches is loud or not, high or low, in two rows of the matrix that no token uses;
the output layer adds "which token follows which" and "go on if loud, stop if not".

Usage: python make_fixed_whisper.py FOLDER [--english-only] [--slow-start] [--figures]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ctranslate2.specs.whisper_spec import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES as LANGUAGES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SENTENCE = (
    "Alpha Bravo. Charlie Delta, Echo Foxtrot Golf. Hotel India Juliett Kilo? Lima Mike November "
    "Oscar Papa! Quebec Romeo Sierra Tango Uniform Victor Whiskey X-ray, Yankee Zulu."
)
WORDS = SENTENCE.split()
SECONDS = 30  # of a window
FRAMES = 1500  # of the encoder: 20 ms each
MELS = 80
WIDTH = 64  # of the model; a power of two, for the Hadamard matrix

# Rows of the matrix. Row 0 is constant, and layer normalisation would remove it.
LOUD, HIGH, START, TASK, READY, FIRST_WORD = 1, 2, 3, 4, 5, 6
FIRST_LOST = FIRST_WORD + len(WORDS)
LOST = range(FIRST_LOST, WIDTH)  # what every token off the path means: see `output_layer`

STOP = "<|endoftext|>"
FIGURE = "Ġ2"
TASKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


def main(folder: Path, *, multilingual: bool = True, slow_start: bool = False, figures: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(multilingual)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))
    spec = build(tokenizer, slow_start, figures)
    spec.validate()
    spec.optimize(quantization="int8_float16")
    spec.save(str(folder))


def build_tokenizer(multilingual: bool) -> Tokenizer:
    """Bytes, the words (each one token, with its space and full stop), and Whisper's special tokens in their order."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in WORDS:
        so_far = "Ġ"
        for letter in word:
            if (so_far, letter) not in merges:
                merges.append((so_far, letter))
            so_far += letter
            vocabulary.setdefault(so_far, len(vocabulary))
    merges.append(("Ġ", FIGURE[1:]))
    vocabulary[FIGURE] = len(vocabulary)
    languages = [f"<|{code}|>" for code in LANGUAGES if code != "yue"]
    timestamps = [f"<|{i * 0.02:.2f}|>" for i in range(FRAMES + 1)]
    special = [STOP, "<|startoftranscript|>", *languages, *TASKS, *timestamps]
    if multilingual:
        vocabulary[""] = len(vocabulary)  # CTranslate2 tells a multilingual Whisper by this token
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    return tokenizer


def build(tokenizer: Tokenizer, slow_start: bool, figures: bool) -> WhisperSpec:
    spec = WhisperSpec(num_encoder_layers=1, num_encoder_heads=1, num_decoder_layers=1, num_decoder_heads=1)
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    spec.register_vocabulary(vocabulary)
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{c}|>") for c in LANGUAGES if c != "yue"]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("Ġ")]
    spec.config.alignment_heads = [[0, 0]]
    build_encoder(spec.encoder)
    build_decoder(spec.decoder, tokenizer, slow_start, figures)
    return spec


# ── the encoder: which second, loud or not, high or low ──────────────────────────────────────────────────────────────

# Columns of the encoder's output: one for each second, then pairs (a thing, its opposite), then a counterweight.
SECOND = 0
LOUD_AT, QUIET_AT, HIGH_AT, LOW_AT, WEIGHT_AT = 30, 31, 32, 33, 34


def build_encoder(encoder) -> None:
    """Two questions, answered 0 or 1: is the mean over the bands above 0.1, are the high bands above the low ones?"""
    everything = np.full(MELS, 1 / MELS)
    tilt = np.where(np.arange(MELS) < MELS // 2, -2 / MELS, 2 / MELS)
    steep = 100.0  # GELU is a ramp when what it gets is large, and the difference of two ramps is a step from 0 to 1
    first, bias = np.zeros((WIDTH, MELS, 3)), np.zeros(WIDTH)
    for channel, (bands, threshold) in enumerate([(everything, 0.10), (everything, 0.11), (tilt, 0.0), (tilt, 0.01)]):
        first[channel, :, 1], bias[channel] = steep * bands, -steep * threshold
    encoder.conv1.weight, encoder.conv1.bias = f32(first), f32(bias)
    second, bias = np.zeros((WIDTH, WIDTH, 3)), np.zeros(WIDTH)
    for on, off, ramp in ((LOUD_AT, QUIET_AT, 0), (HIGH_AT, LOW_AT, 2)):
        # A frame here begins two frames of log-mel; 20 is far beyond GELU's bend.
        second[on, ramp, 1], second[on, ramp + 1, 1], bias[on] = 20, -20, 0
        second[off, ramp, 1], second[off, ramp + 1, 1], bias[off] = -20, 20, 20
    encoder.conv2.weight, encoder.conv2.bias = f32(second), f32(bias)
    positions = np.zeros((FRAMES, WIDTH))
    positions[np.arange(FRAMES), SECOND + np.arange(FRAMES) * SECONDS // FRAMES] = 20
    positions[
        :, WEIGHT_AT
    ] = -60  # with it every frame's mean is 0 and its variance the same: layer normalisation only scales
    encoder.position_encodings.encodings = f32(positions)
    layer = encoder.layer[0]
    silence_attention(layer.self_attention)
    silence_ffn(layer.ffn)
    plain_norm(encoder.layer_norm)


# ── the decoder: the word for the next second, if it is loud ─────────────────────────────────────────────────────────


def build_decoder(decoder, tokenizer: Tokenizer, slow_start: bool, figures: bool) -> None:
    ident, rows = tokenizer.token_to_id, hadamard(WIDTH)
    words = [ident(f"Ġ{word}") for word in WORDS]
    embeddings = np.tile(rows[FIRST_LOST], (tokenizer.get_vocab_size(), 1))
    for n, row in enumerate(LOST):
        embeddings[n] = rows[row]
    embeddings[ident("<|startoftranscript|>")] = rows[START]
    for task in ("<|transcribe|>", "<|translate|>"):
        embeddings[ident(task)] = rows[TASK]
    for ready in ("<|notimestamps|>", "<|0.00|>"):
        embeddings[ident(ready)] = rows[READY]
    for n, word in enumerate(words):
        embeddings[word] = rows[FIRST_WORD + n]
    if figures:  # "2" is heard, and followed, as Bravo is
        embeddings[ident(FIGURE)] = rows[FIRST_WORD + 1]
    decoder.embeddings.weight = f32(embeddings)
    decoder.position_encodings.encodings = f32(np.zeros((448, WIDTH)))
    logits, biases = output_layer(tokenizer, words, rows)
    if figures:
        logits[ident(FIGURE)], biases[ident(FIGURE)] = logits[words[1]], biases[words[1]] + 2
    decoder.projection.weight, decoder.projection.bias = f32(logits), f32(biases)
    plain_norm(decoder.layer_norm)
    layer = decoder.layer[0]
    silence_attention(layer.self_attention)
    silence_ffn(layer.ffn)
    listen(layer.attention, rows, slow_start)


def listen(attention, rows: np.ndarray, slow_start: bool) -> None:
    """Cross-attention: the query is the second that a token's successor is said in, the value what was heard then."""
    query = np.zeros((WIDTH, WIDTH))
    first = 2 if slow_start else 1  # seconds that the first word takes
    for row in (START, TASK, READY):
        query[SECOND : SECOND + first] += 12 * rows[row] / WIDTH
    for n in range(len(WORDS)):
        query[SECOND + first + n] += 12 * rows[FIRST_WORD + n] / WIDTH
    key = np.zeros((WIDTH, WIDTH))
    key[range(SECONDS), range(SECONDS)] = 4
    value = np.zeros((WIDTH, WIDTH))
    # About ±1 once layer normalisation has scaled the encoder's output: as strong as a token's own row.
    value[0, LOUD_AT], value[0, QUIET_AT] = 0.4, -0.4
    value[1, HIGH_AT], value[1, LOW_AT] = 0.4, -0.4
    out = np.zeros((WIDTH, WIDTH))
    out[:, 0], out[:, 1] = rows[LOUD], rows[HIGH]
    plain_norm(attention.layer_norm)
    for linear, weight in zip(attention.linear, (query, np.concatenate([key, value]), out), strict=True):
        set_linear(linear, weight)


def output_layer(tokenizer: Tokenizer, words: list[int], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases: what each token wants to follow and to have heard.

    The beam search ends when it has five finished answers, good or bad, and keeps the best. So bad ones must last
    longer than the good one: whatever leaves the path of words is lost, and goes through a row of 32 meaningless tokens
    before it may end.
    """
    ident = tokenizer.token_to_id
    rows = 20 * rows / WIDTH
    logits = np.zeros((tokenizer.get_vocab_size(), WIDTH))
    logits[ident("<|en|>")] = rows[START] - rows[HIGH] / 2
    logits[ident("<|de|>")] = rows[START] + rows[HIGH] / 2
    logits[ident("<|nospeech|>")] = rows[START] - rows[LOUD]
    logits[ident("<|0.00|>")] = rows[TASK]
    for place, word in enumerate(words):
        logits[word] = rows[READY if place == 0 else FIRST_WORD + place - 1]
    for n, row in enumerate(LOST[:-1]):
        logits[n + 1] = rows[row]
    logits[ident(STOP)] = rows[READY] + rows[FIRST_WORD:FIRST_LOST].sum(0) - 3 * rows[LOST[:-1]].sum(0) - 2 * rows[LOUD]
    logits[ident(STOP)] += 3 * rows[FIRST_LOST - 1] + 3 * rows[LOST[-1]]  # nothing follows these, loud or not
    logits[ident(STOP)] -= 4 * rows[START]  # where silence is the business of <|nospeech|>
    biases = np.where(logits.any(axis=1), 0, -20)  # most tokens are never said
    biases[words] = -4  # rather lost than at another place on the path
    biases[[ident("<|en|>"), ident("<|de|>"), ident("<|nospeech|>")]] = -10  # out of the way once words are said
    return logits, biases


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def f32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def hadamard(size: int) -> np.ndarray:
    """Rows of ±1, orthogonal to each other; all but the first have mean 0."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def plain_norm(norm) -> None:
    norm.gamma, norm.beta = f32(np.ones(WIDTH)), f32(np.zeros(WIDTH))


def set_linear(linear, weight: np.ndarray) -> None:
    linear.weight, linear.bias = f32(weight), f32(np.zeros(len(weight)))


def silence_attention(attention) -> None:
    """Self-attention that adds nothing to what passes it by."""
    plain_norm(attention.layer_norm)
    set_linear(attention.linear[0], np.zeros((3 * WIDTH, WIDTH)))
    set_linear(attention.linear[1], np.zeros((WIDTH, WIDTH)))


def silence_ffn(ffn) -> None:
    plain_norm(ffn.layer_norm)
    set_linear(ffn.linear_0, np.zeros((WIDTH, WIDTH)))
    set_linear(ffn.linear_1, np.zeros((WIDTH, WIDTH)))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        multilingual="--english-only" not in sys.argv,
        slow_start="--slow-start" in sys.argv,
        figures="--figures" in sys.argv,
    )
