"""Write the software bill of materials of the image that this runs in, as CycloneDX JSON.

    python sbom.py NAME FILE [SITE-PACKAGES...]

Run at the end of each image's build: it lists what is installed there (Python, its distributions,
the distribution's packages), not what a lock asked for. The standard library alone, so that the
tool adds nothing to what it lists; no clock and no chance: the same image has the same bill.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")


def component(kind: str, name: str, version: str, *, purl: str) -> dict[str, Any]:
    """A component, with its package URL as its reference."""
    reference = f"pkg:{purl}@{quote(version, safe='.~-_')}"
    return {
        "type": kind,
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
    }


def python_packages(sites: list[str]) -> Iterator[dict[str, Any]]:
    """The distributions on this interpreter's path, and on further ones."""
    for found in distributions(path=[*sys.path, *sites]):
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        listed = component("library", found.metadata["Name"], found.version, purl=f"pypi/{name}")
        expression = found.metadata.get("License-Expression")
        yield listed | ({"licenses": [{"expression": expression}]} if expression else {})


def system_packages() -> Iterator[dict[str, Any]]:
    """The packages of Debian or a relative, where the image is made from one."""
    if not DPKG.exists():
        return
    vendor = platform.freedesktop_os_release().get("ID", "debian")
    for paragraph in DPKG.read_text("utf-8", "replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name = fields["Package"]
            purl = f"deb/{vendor}/{quote(name, safe='.-_')}"
            yield component("library", name, fields["Version"], purl=purl)


def bill(name: str, sites: list[str]) -> dict[str, Any]:
    """The bill of materials of an image called `name`."""
    python = component("application", "python", platform.python_version(), purl="generic/python")
    found = [python, *python_packages(sites), *system_packages()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": name, "name": name}},
        "components": list({one["bom-ref"]: one for one in sorted(found, key=str)}.values()),
    }


if __name__ == "__main__":
    to = Path(sys.argv[2])
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(bill(sys.argv[1], sys.argv[3:]), indent=1) + "\n", "utf-8")
