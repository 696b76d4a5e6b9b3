"""The command line: parses, calls one workflow, renders one report."""
