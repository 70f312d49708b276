"""What tests of the documents share: the documents, their fenced blocks, the tests that a document names."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def text_of(name: str) -> str:
    """A document of the project, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[tuple[str, str]]:
    """(what stands behind the fence, the block's text) of each fenced block of a document."""
    return [(found["info"].strip(), found["body"]) for found in _FENCE.finditer(text_of(name))]


def block(name: str, info: str) -> str:
    """The one block of a document that is marked so."""
    [body] = [body for marked, body in blocks(name) if marked == info]
    return body


def named_tests(text: str) -> list[tuple[str, str]]:
    """(file, function) of each test that a text names."""
    return _TEST.findall(text)


@cache
def functions_in(file: str) -> frozenset[str]:
    """The functions of a file; none for a file that is not there."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rows_under(text: str, heading: str) -> list[list[str]]:
    """The cells of the table that follows a heading, without its head."""
    _, _, rest = text.partition(f"{heading}\n")
    lines = []
    for line in rest.strip().splitlines():
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip("|").split("|")])
        elif lines:
            break
    return lines[2:]
