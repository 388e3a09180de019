"""The page of the datasets: links, licences and papers, as the adapters state them."""

from __future__ import annotations

import re

from harness.datasets import ADAPTERS
from harness.datasets.base import Adapter
from harness.datasets.records import ON_REQUEST, SOURCES

ABOUT = """# The datasets

These public datasets are known by name. `busbench fetch NAME --out FOLDER` shows the terms, asks
whether you accept them, and downloads; `busbench prepare NAME` reads what was downloaded. BUSBench
contains none of the images.

```text
busbench fetch busbra --out data/busbra
busbench prepare busbra --raw data/busbra/release --out stores/busbra
```

| name | images | of which | patients | get it | licence | cite |
| --- | ---: | --- | ---: | --- | --- | --- |
{rows}

Numbers are what the publishers state; `prepare` prints what it found beside them. The files of BUSI
and BUS-UC do not say which images are of one patient, so no rule can keep a patient on one side of
a split: the [audit](audit.md) has the pixels alone.

## How to cite them

Cite the paper of each dataset that you used:

{papers}

Any DOI gives its own BibTeX:

```text
{bibtex}
```

A training bundle and an [exported split](export.md) have paper, terms and licence of their images
in the file `CITATION`; keep it with every copy. How to cite BUSBench or a result: [cite](cite.md).

## Their terms

{terms}

Terms are those of the publishers at the time of writing: read them where you download. What you
sign for {signed} binds you, whatever this page says.

[Freeze a release](freeze-a-release.md) has the layout of each release, and where digests come from.
[Add a dataset](add-a-dataset.md) is for images of your own.
"""


def data_page() -> str:
    """Every public dataset that is known by name."""
    found = [ADAPTERS[name] for name in (*SOURCES, *ON_REQUEST)]
    first = found[0].release.paper.removeprefix("doi:")
    return ABOUT.format(
        rows="\n".join(map(_row, sorted(found, key=lambda adapter: adapter.name))),
        papers="\n".join(f"- {each.title}: {_link(each.release.paper)}" for each in found),
        bibtex=f'curl -LH "Accept: application/x-bibtex" https://doi.org/{first}',
        terms="\n".join(f"- **{each.title}**: {each.release.terms}." for each in found),
        signed=" and ".join(ADAPTERS[name].title for name in ON_REQUEST),
    )


def _row(adapter: Adapter) -> str:
    release = adapter.release
    classes = ", ".join(f"{count:,} {label}" for label, count in release.classes.items())
    patients = "not stated" if release.patients is None else f"{release.patients:,}"
    licence = re.split("[:(]", release.terms)[0].strip()
    images = sum(release.classes.values())
    cells = (f"`{adapter.name}`, {adapter.title}", f"{images:,}", classes, patients)
    links = _link(release.download, "download"), licence, _link(release.paper, "paper")
    return f"| {' | '.join((*cells, *links))} |"


def _link(place: str, words: str = "") -> str:
    """A DOI or an address as a link; anything else as it is."""
    if place.startswith("doi:"):
        return f"[{words or place}](https://doi.org/{place.removeprefix('doi:')})"
    return f"[{words or place}]({place})" if place.startswith("https://") else place
