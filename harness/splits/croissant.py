"""`croissant.json` beside a frozen split: what machines read of a dataset, in Croissant 1.0.

Public facts alone: the release's terms and citation, digests, and the columns of split.csv.
The lock does not cover it, since it only repeats what the lock says; `verify` compares it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from evaluator.files import pretty_json, sha256_file, write_atomically
from harness.splits.manifest import FrozenSplit

CROISSANT = "croissant.json"
FILES = {"split.csv": "text/csv", "lock.json": "application/json"}
# Columns of split.csv -> type, and what they are; `test` is replaced by all hidden parts.
ABOUT = {
    "case_id": ("sc:Text", "The case, as in BUSBench's store of the release"),
    "part": ("sc:Text", "train or test"),
    "fold": ("sc:Integer", "The fold that validates on it; empty for a test case"),
    "class": ("sc:Text", "benign, malignant or normal; empty, withheld, for a test case"),
    "patient_group": ("sc:Text", "Cases of one patient, and twins: all on one side"),
    "image_sha256": ("sc:Text", "SHA-256 of the image's height, width and pixels"),
}
TRAINING, TEST = "cr:TrainingSplit", "cr:TestSplit"  # Croissant knows no third that is hidden
# The context that Croissant 1.0 prescribes, all of it, used here or not.
TERMS = """citeAs column equivalentProperty examples extract field fileObject fileProperty fileSet
format includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated
replace samplingRate separator source subField transform"""
CONTEXT: dict[str, Any] = {name: f"cr:{name}" for name in TERMS.split()} | {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}


def write_croissant(split: FrozenSplit) -> None:
    """Write `croissant.json` into the folder of a split whose other files are there."""
    write_atomically(split.path / CROISSANT, pretty_json(describe(split)))


def describe(split: FrozenSplit) -> dict[str, Any]:
    """The Croissant document of a frozen split, as JSON-LD."""
    lock = split.lock
    name = f"{lock.dataset}-{lock.version}"
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": (
            f"Which cases of {lock.dataset} train and which test, drawn once by BUSBench: version "
            f"{lock.version}, policy {lock.policy}, {lock.folds} folds, digest {lock.digest}. "
            f"{lock.verdict} Images and masks are not included: get the release."
        ),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "encodingFormat": kind,
                "sha256": sha256_file(split.path / file),
            }
            for file, kind in FILES.items()
        ],
        "recordSet": [_parts(lock.hidden_parts), _cases(lock.hidden_parts)],
    }
    number = re.search(r"(?:^|-)v([1-9][0-9]*)$", lock.version)  # Croissant has numbers alone
    return document | ({"version": f"{number[1]}.0.0"} if number else {}) | _release(lock.dataset)


def _release(dataset: str) -> dict[str, Any]:
    """What the publishers state; of a dataset with an adapter of its own, nothing is known."""
    from harness.datasets import ADAPTERS  # noqa: PLC0415  takes half a second to import

    if dataset not in ADAPTERS:
        return {}
    release = ADAPTERS[dataset].release
    work: dict[str, Any] = {"@type": "sc:CreativeWork", "name": release.terms}
    known: dict[str, Any] = {"citeAs": release.paper}
    found = re.search(r"(?:doi:|https://)[^\s,;)]+", f"{release.download} {release.paper}")
    if found:
        known["url"] = work["url"] = found[0].replace("doi:", "https://doi.org/", 1)
    return known | {"license": work}


def _parts(hidden: Sequence[str]) -> dict[str, Any]:
    """The parts, in Croissant's own words for them."""
    urls = {"train": TRAINING, **dict.fromkeys(hidden, TEST)}
    fields = {"name": "sc:Text", "url": "sc:URL"}
    return {
        "@type": "cr:RecordSet",
        "@id": "parts",
        "name": "parts",
        "dataType": "cr:Split",
        "key": {"@id": "parts/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"parts/{field}", "name": field, "dataType": kind}
            for field, kind in fields.items()
        ],
        "data": [{"parts/name": part, "parts/url": url} for part, url in urls.items()],
    }


def _cases(hidden: Sequence[str]) -> dict[str, Any]:
    """The rows of split.csv."""
    fields: dict[str, dict[str, Any]] = {
        column: {
            "@type": "cr:Field",
            "@id": f"cases/{column}",
            "name": column,
            "description": text.replace("test", " or ".join(hidden)),
            "dataType": kind,
            "source": {"fileObject": {"@id": "split.csv"}, "extract": {"column": column}},
        }
        for column, (kind, text) in ABOUT.items()
    }
    fields["part"]["references"] = {"field": {"@id": "parts/name"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "cases",
        "name": "cases",
        "key": {"@id": "cases/case_id"},
        "field": list(fields.values()),
    }


def croissant_differs(split: FrozenSplit) -> Iterator[str]:
    """Where a `croissant.json` that is there names other files than those beside it."""
    file = split.path / CROISSANT
    if not file.exists():  # of a split that was frozen before there was one
        return
    try:
        found = json.loads(file.read_bytes())["distribution"]
        digests = {each["@id"]: each["sha256"] for each in found}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        yield f"{CROISSANT}: it cannot be read"
        return
    if digests != {name: sha256_file(split.path / name) for name in FILES}:
        yield f"{CROISSANT}: its digests are not those of the files"
