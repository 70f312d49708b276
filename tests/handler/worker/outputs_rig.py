"""What tests of the option `outputs` share: asking for forms of a result, and what lies in the bucket then."""

from __future__ import annotations

import json
import re
from typing import Any

from worker_rig import Rig

from handler.fakes import ScriptedEngine
from pipeline.options import OUTPUTS

ALL = OUTPUTS


class TwoVoices(ScriptedEngine):
    """Every other word is another speaker's."""

    def _transcript(self, *args: Any) -> Any:
        made = super()._transcript(*args)
        [channel] = made.channels
        words = tuple(word.model_copy(update={"speaker": place % 2}) for place, word in enumerate(channel.words))
        return made.model_copy(update={"channels": (channel.model_copy(update={"words": words}),)})


def ask(rig: Rig, key: str, *kinds: str) -> None:
    """Options beside a recording."""
    rig.drop(f"{key}.options.json", json.dumps({"outputs": kinds}).encode())


def name_speakers(rig: Rig, key: str, names: dict[str, str]) -> None:
    rig.drop(key, json.dumps(names).encode())


def forms(rig: Rig, key: str) -> list[str]:
    """The kinds that lie beside a result, in the order of the options; its manifest, if any, names the same."""
    found = [kind for kind in ALL if rig.body(f"results/{key}.{kind}") is not None]
    manifest = rig.manifest(key)
    if manifest is not None and manifest["status"] == "completed":
        assert manifest["outputs"] == {kind: f"results/{key}.{kind}" for kind in found}
    return found


def shown(rig: Rig, key: str) -> str:
    """The words of a result's SubRip file, in the spelling of `worker_rig.text_of`."""
    srt = (rig.body(f"results/{key}.srt") or b"").decode()
    lines = [line for line in srt.splitlines() if line and "-->" not in line and not re.fullmatch(r"\d{1,3}", line)]
    return " ".join(" ".join(lines).lower().replace(".", "").split())
