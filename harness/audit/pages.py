"""The pages of an audit, each one HTML file that needs no other and runs no script."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader

_TEMPLATES = Environment(loader=PackageLoader("harness.audit", "."), autoescape=True)


def page(template: str, **what: object) -> bytes:
    """A page as UTF-8 HTML, from the template of that name."""
    return _TEMPLATES.get_template(template).render(**what).encode()
