"""`python -m harness` is `busbench`."""

from harness.cli import main

if __name__ == "__main__":  # else processes that are spawned would run it, too
    main()
