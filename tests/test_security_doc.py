"""docs/security.md: every test that it leans on is there, and every bar of the cage has one."""

from __future__ import annotations

from docs_rig import functions_in, named_tests, rows_under, text_of

from handler.settings import Settings
from pipeline.cage.confine import OPEN_FILES, PROCESSES

DOCUMENT = "docs/security.md"
THREATS = (
    "A hostile uploader", "Hostile media", "Stolen reader credentials", "A hostile callback target",
    "A hostile folder of models",
)  # fmt: skip


def test_every_defence_has_its_test() -> None:
    """Whatever is claimed names a test, and each test that is named exists."""
    text = text_of(DOCUMENT)
    named = named_tests(text)
    assert [(file, test) for file, test in named if test not in functions_in(file)] == []
    for threat in THREATS:
        section = text.partition(f"## {threat}\n")[2].partition("\n## ")[0]
        assert named_tests(section), threat
        assert "*What remains.*" in section, threat
    for row in rows_under(text, "hold, and the worker's log says so in one line (`… is not possible here`)."):
        assert named_tests(row[-1]), row[0]


def test_its_numbers_and_settings_are_right() -> None:
    """The limits are those of the code, and the settings exist."""
    text = text_of(DOCUMENT)
    assert f"{OPEN_FILES:,} open files" in text
    assert f"{PROCESSES:,} processes" in text
    for name in ("engine_network", "engine_files", "engine_data_bytes", "listen_token_file", "callback_secret_file"):
        assert f"DROPSCRIBE_{name.upper()}" in text
        assert name in Settings.model_fields
