"""The models beside the recogniser that are known by name: where each comes from, its licence, languages and size.

Takes and gives names alone; reads neither folders nor the network. No licence here forbids commercial use. A commit is
named for each, because a ``.nemo`` has a pickle in it: what is fetched is what was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Kind = Literal["separator", "aligner", "sortformer", "voices"]

UNKNOWN = "unknown"  # a licence

_MIB = 1 << 20
_CC = "CC-BY-4.0"


class Known(NamedTuple):
    """``file``: the weights in the repository. ``licence``: as the repository states it. ``size``: of the download, in
    bytes, about. ``languages``: of an aligner.
    """

    kind: Kind
    repo: str
    commit: str
    file: str
    licence: str
    size: int
    languages: tuple[str, ...] = ()


def _aligner(language: str, commit: str, size: int) -> Known:
    model = f"stt_{language}_conformer_ctc_large"
    return Known("aligner", f"nvidia/{model}", commit, f"{model}.nemo", _CC, size * _MIB, (language,))


# Of each kind the one that comes first is what `auto` prefers to the others.
KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "htdemucs": Known(
            "separator", "adefossez/HTDemucs", "bf35a81b663819a8255c8fefee17f9d812b786b5",
            "955717e8.safetensors", "MIT", 80 * _MIB,
        ),
        "sortformer": Known(
            "sortformer", "nvidia/diar_streaming_sortformer_4spk-v2", "6dbf0d69730bfee097056692b86525a0a23b32f9",
            "diar_streaming_sortformer_4spk-v2.nemo", _CC, 450 * _MIB,
        ),
        "titanet": Known(
            "voices", "nvidia/speakerverification_en_titanet_large", "fa8ee5ddf24f3d3fffc1212d791e0922e5bfb53d",
            "speakerverification_en_titanet_large.nemo", _CC, 97 * _MIB,
        ),
        "aligner-en": _aligner("en", "2c8326e4e43ae5b994612cfea3f3029818fb23c6", 430),
        "aligner-de": _aligner("de", "bd132ddbd22f4e8ddb61368c77c54611f556980a", 431),
        "aligner-es": _aligner("es", "12dd00dc88f7d99d02d2e14394a364303cbb4b1c", 433),
        "aligner-fr": _aligner("fr", "33389dc97f6bb322ec9b8cbc96e7bdef178ad1b4", 431),
        "aligner-it": _aligner("it", "51e9b95aea2dde0762abf80df996d1c87badc00e", 464),
    }
)  # fmt: skip

# What people download by hand, by the file's name without its ending: a licence is not in the file.
LICENCES: Mapping[str, str] = MappingProxyType(
    {
        **{known.file.rpartition(".")[0]: known.licence for known in KNOWN.values()},
        "diar_sortformer_4spk-v1": "CC-BY-NC-4.0",
        "diar_streaming_sortformer_4spk-v2.1": "NVIDIA-Open-Model-License",
    }
)


def known_name(name: str) -> str | None:
    """What a person may call one of them, as it is called here: its name, or its repository. None for what is none."""
    wanted = name.strip().lower()
    by_repo = {known.repo.lower(): known_as for known_as, known in KNOWN.items()}
    return wanted if wanted in KNOWN else by_repo.get(wanted)


def commercial(licence: str) -> bool:
    """The licence does not forbid commercial use, as far as its name tells."""
    return "-NC" not in licence.upper()


def order(kind: str, name: str, licence: str) -> tuple[int, int, str]:
    """A key to sort models of a kind by, best first: those that may be used commercially, then those that nobody knows
    the licence of, then others; of these, the known ones as they stand above.
    """
    doubt = 2 if not commercial(licence) else 1 if licence == UNKNOWN else 0
    ranks = [known_as for known_as, known in KNOWN.items() if known.kind == kind]
    return doubt, ranks.index(name) if name in ranks else len(ranks), name
