"""The command line: one module per sub-command, and the edge where errors become exit codes."""
