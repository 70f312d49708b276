"""A model of transformers' own class that restores punctuation by a rule: some words have a mark of their own behind
them. Made, not trained: its one layer hands the words' embeddings on, and the classes are read off them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEHIND = {"you": "?", "hello": ",", "yes": ".", "good": "."}
WORDS = ["is", "it", *BEHIND]
LABELS = ["0", ".", ",", "?"]


def make_punctuator(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForTokenClassification

    vocabulary = {word: nth for nth, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
        max_position_embeddings=512, id2label=dict(enumerate(LABELS)),
    )  # fmt: skip
    net: Any = BertForTokenClassification(config)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "LayerNorm.weight" not in name:
                weight.zero_()
        for nth in vocabulary.values():
            net.bert.embeddings.word_embeddings.weight[nth, nth] = 1.0
        for word, mark in BEHIND.items():
            net.classifier.weight[LABELS.index(mark), vocabulary[word]] = 1.0
        net.classifier.bias[0] = 0.5
    net.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
