"""`python -m harness` is `busbench`."""

from harness.cli import main

main()
