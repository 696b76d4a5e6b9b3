"""One file per command: its settings, its report, and one function that does it."""
