"""``python -m handler.cli``: the same as the command ``dropscribe``."""

from handler.cli import main

main()
