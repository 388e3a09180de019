"""The site: the board as pages that work from a folder, with no server and no other host."""

from harness.website.extras import Sources
from harness.website.publishing import publish

__all__ = ["Sources", "publish"]
