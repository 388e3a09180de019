"""The harness: the organiser's host.

Datasets, audit, splits, sealing, the sandbox, evaluation, training, ledger, ranking, website and
command line. It runs no model itself: models run in containers of the other components.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("busbench")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
