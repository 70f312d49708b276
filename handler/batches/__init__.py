"""Batches: ``input/<name>.batch.jsonl`` asks for many recordings at once, and has one progress and one result for all.

`lines` reads the file, `plan` freezes what it means, `standing` knows how far its members are, `report` tells and ends
it, `watcher` does all that scan by scan. Which job a member is, and what becomes of it, is the worker's business.
"""

from handler.batches.watcher import Batches

__all__ = ["Batches"]
