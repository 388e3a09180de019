"""Disk space for a run of all tests."""

from __future__ import annotations

import shutil
import tempfile

import pytest

GB = 4  # what all tests have on the disk at once: environments, containers, folders of their own


def check_disk_space(config: pytest.Config) -> None:
    """Refuse a run of all tests without the disk space: they would fail by the hundred, and late.

    Raises:
        pytest.UsageError: the folder for temporary files has less than `GB` free.
    """
    is_chosen = config.option.markexpr or config.option.keyword
    if is_chosen or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free / 1e9
    if free < GB:
        raise pytest.UsageError(
            f"All tests need {GB} GB of disk, and {place} has {free:.1f} GB: free some of it, or "
            "name a folder on another disk in TMPDIR."
        )
