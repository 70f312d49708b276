"""Prints docs/options.md: ``python -m pipeline.options > docs/options.md``."""

import sys

from pipeline.options.table import table

sys.stdout.write(table())
