"""Models beside the recogniser that are small and whole, as far as anybody can tell who does not load them; and
which of them are chosen.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from pipeline.companions import Choice, Companions, companions_in

CLASSES = {
    "sortformer": "nemo.collections.asr.models.sortformer_diar_models.SortformerEncLabelModel",
    "voices": "nemo.collections.asr.models.label_models.EncDecSpeakerLabelModel",
    "aligner": "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE",
}


def nemo(path: Path, kind: str, weights: bytes = b"weights" * 20_000, *, mode: str = "w:") -> Path:
    """A ``.nemo`` of that kind, or of the class so named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = f"sample_rate: 16000\ntarget: {CLASSES.get(kind, kind)}\nencoder:\n  _target_: nothing\n".encode()
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, body in (("./model_config.yaml", config), ("./model_weights.ckpt", weights)):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path


def separator(folder: Path, weights: bytes = b"\1" * 4000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"class": "HTDemucs", "arguments": {"sources": ["vocals"]}}))
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(weights)], "data_offsets": [0, len(weights)]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)
    return folder


def aligner(folder: Path, *languages: str, licence: str = "CC-BY-4.0", weights: bytes = b"weights" * 20_000) -> Path:
    nemo(folder / "model.nemo", "aligner", weights)
    record = {"backend": "nemo", "file": "model.nemo", "languages": languages or ("en",), "licence": licence}
    (folder / "dropscribe-aligner.json").write_text(json.dumps(record))
    return folder


def note(folder: Path, **fields: Any) -> None:
    """The record that a person may write."""
    (folder / "dropscribe-companion.json").write_text(json.dumps(fields))


def stock(home: Path) -> Path:
    """One of each kind, under the names that `fetch` gives them."""
    separator(home / "htdemucs")
    aligner(home / "aligner-en", "en")
    nemo(home / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo", "sortformer")
    nemo(home / "titanet" / "speakerverification_en_titanet_large.nemo", "voices")
    return home


def cut(path: Path, share: float = 0.5) -> None:
    """As a copy that did not end leaves it."""
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])


def names(found: Companions) -> dict[str, str | None]:
    return {
        "separator": found.separator and found.separator.name,
        "aligners": ",".join(one.info.name for one in found.aligners) or None,
        "few": found.few and found.few.name,
        "many": found.many and found.many.name,
    }


def found_in(home: Path, **choice: str) -> Companions:
    return companions_in(None, home, Choice(**choice))
