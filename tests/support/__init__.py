"""What tests of all components share: made-up inputs, small challenges, and readers of results.

Test modules and conftests import from here, and nothing imports from a test module or a conftest.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
