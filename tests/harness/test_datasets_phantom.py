"""Phantoms: the same for the same seed, and with the looks that go with the class."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.errors import BusbenchError
from harness.datasets import RawCase, adapter, phantom
from harness.datasets.speckle import View, draw_lesion, scan

FIRST = "phantom_0001-l1.png"
MEANS = [  # of 4 x 4 tiles, seed 5
    [169.5, 171.2, 174.6, 179.8],
    [157.6, 194.2, 187.0, 191.3],
    [137.3, 150.5, 153.5, 171.8],
    [113.8, 122.4, 119.2, 126.7],
]
LAYERS = (1.8, 7.0, 23.0, 26.0)


def listing(raw: Path) -> dict[str, bytes]:
    return {p.relative_to(raw).as_posix(): p.read_bytes() for p in raw.rglob("*") if p.is_file()}


def cases(raw: Path) -> list[RawCase]:
    found = list(adapter("phantom").read(raw))
    assert all(isinstance(case, RawCase) for case in found)
    return [case for case in found if isinstance(case, RawCase)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "raw"
    phantom.generate(folder, patients=10, seed=5)
    return folder


def test_a_smaller_set_is_the_beginning_of_a_larger_one(raw: Path, tmp_path: Path) -> None:
    phantom.generate(tmp_path / "few", patients=3, seed=5)
    few, many = listing(tmp_path / "few"), listing(raw)
    assert few.pop("cases.csv") == b"".join(
        line + b"\n" for line in many["cases.csv"].splitlines()[: len(few) // 2 + 1]
    )
    del few["phantoms.json"], many["phantoms.json"]  # which say how many there are
    assert few.items() <= many.items()


def test_another_seed_gives_other_images(raw: Path, tmp_path: Path) -> None:
    phantom.generate(tmp_path / "other", patients=1, seed=6)
    other, same = listing(tmp_path / "other"), listing(raw)
    assert all(same.get(name) != data for name, data in other.items())


def test_patients_have_several_differing_images_of_all_classes(raw: Path) -> None:
    found = cases(raw)
    assert {case.label for case in found} == {"benign", "malignant", "normal"}
    patients = [case.patient for case in found]
    assert set(patients) == {f"{number:04d}" for number in range(1, 11)}
    assert min(patients.count(patient) for patient in set(patients)) >= 2
    images = [np.asarray(Image.open(case.image)) for case in found]
    assert len({image.tobytes() for image in images}) == len(images)
    assert len({image.shape for image in images}) > len(images) // 2
    assert all(160 <= side <= 240 for image in images for side in image.shape)


def test_no_name_tells_a_class(raw: Path) -> None:
    text = " ".join(f"{case.case_id} {case.image}" for case in cases(raw))
    assert not any(word in text for word in ("benign", "malignant", "normal"))


def test_a_lesion_is_darker_than_what_surrounds_it_on_average(raw: Path) -> None:
    shades = []
    for case in cases(raw):
        if case.label != "normal":
            image = np.asarray(Image.open(case.image)).astype(float)
            mask = np.asarray(Image.open(case.masks[0]))
            rows = mask.any(axis=1)
            shades.append(image[mask].mean() - image[rows][~mask[rows]].mean())
    assert np.mean(shades) < -15


def _behind(trail: float) -> float:
    """Mean grey below a lesion, with the given trail."""
    rng = np.random.RandomState(1)
    view = View((200, 200), 0.19, LAYERS, attenuation=0.2, dynamic_range=55)
    lesion = replace(draw_lesion(rng, malignant=False), depth=13.0, trail=trail)
    image, mask = scan(np.random.RandomState(2), view, lesion)
    columns, last = mask.any(axis=0), int(np.nonzero(mask.any(axis=1))[0][-1])
    return float(image[last + 3 : last + 30, columns].mean())


def test_a_lesion_enhances_or_shadows_what_lies_behind_it() -> None:
    assert _behind(-1.2) + 15 < _behind(0.0) < _behind(0.6) - 5


def test_speckle_of_even_tissue_is_rayleigh() -> None:
    from harness.datasets.speckle import _envelope  # noqa: PLC0415

    envelope = _envelope(np.random.RandomState(0), np.zeros((400, 400)))[150:170]
    ratio = envelope.mean() / envelope.std()
    assert ratio == pytest.approx(1.913, abs=0.06)  # sqrt(pi / (4 - pi))


def test_phantoms_never_overwrite(raw: Path) -> None:
    with pytest.raises(BusbenchError, match="another --patients"):
        phantom.generate(raw, patients=1, seed=5)
    with pytest.raises(BusbenchError, match="are none"):
        phantom.generate(raw / "x", patients=0, seed=5)


def test_a_killed_generation_leaves_no_folder(tmp_path: Path) -> None:
    def killed(what: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        phantom.generate(tmp_path / "raw", 2, 5, progress=killed)
    assert not (tmp_path / "raw").exists()
    phantom.generate(tmp_path / "raw", 1, 5)
    assert (tmp_path / "raw" / "cases.csv").is_file()


def test_the_first_phantom_is_what_it_always_was(raw: Path) -> None:
    """A guard against other random numbers; libraries may differ by a grey value here and there."""
    first = np.asarray(Image.open(raw / "images" / FIRST)).astype(float)
    rows, columns = (np.linspace(0, side, 5).astype(int) for side in first.shape)
    means = [
        [first[top:bottom, left:right].mean() for left, right in pairwise(columns)]
        for top, bottom in pairwise(rows)
    ]
    assert np.array(means) == pytest.approx(np.array(MEANS), abs=0.3)
