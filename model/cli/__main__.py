"""`python -m model.cli`: the same as `cochlear`."""

from model.cli.main import main

main()
