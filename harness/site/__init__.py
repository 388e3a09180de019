"""The site: the board as a static page that asks no other host for anything."""

from harness.site.publish import publish

__all__ = ["publish"]
