"""What is measured, side by side with peers. `python -m bench.<name>` prints a table; `rows` gives it as data."""
