"""Preparing: whole stores or none, every bad file named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli import app
from harness.datasets import RawCase, adapter, phantom
from harness.prepare import CasesRefusedError, prepare
from harness.store import CaseStore


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("phantoms") / "raw"
    phantom.generate(raw, patients=4, seed=3)
    return raw


@pytest.fixture
def raw(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "raw"))


def first_image(raw: Path) -> Path:
    return sorted((raw / "images").iterdir())[0]


def test_a_store_holds_the_raw_pixels(phantoms: Path, tmp_path: Path) -> None:
    result = prepare("phantom", phantoms, tmp_path / "store")
    store = CaseStore.open(tmp_path / "store")
    assert store == result.store
    assert store.info.patients == 4
    assert not result.resumed
    for case in store.cases:
        image = np.asarray(Image.open(phantoms / case.source_image))
        mask = np.asarray(Image.open(phantoms / case.source_mask))
        assert np.array_equal(store.image(case.case_id), image)
        assert np.array_equal(store.mask(case.case_id), mask)
        assert case.label in ("benign", "malignant", "normal")
        assert mask.any() == (case.label != "normal")
        assert case.spacing is not None
        assert case.repairs == ""


def test_the_same_run_again_is_resumed_and_changes_no_byte(phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    prepare("phantom", phantoms, out)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    assert prepare("phantom", phantoms, out).resumed
    assert before == {
        p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()
    }


def test_the_store_of_other_files_is_not_taken_for_this_one(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    prepare("phantom", raw, out)
    table = raw / "cases.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(BusbenchError, match="another content of --raw") as caught:
        prepare("phantom", raw, out)
    assert caught.value.code == "output-exists"


def test_a_killed_run_leaves_nothing_that_looks_finished(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"

    def killed(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("phantom", phantoms, out, progress=killed)
    assert not out.exists()
    (tmp_path / ".store.partial").mkdir()  # as a run leaves it that was killed outright
    (tmp_path / ".store.partial" / "store.json").write_text("{}")
    assert not prepare("phantom", phantoms, out).resumed
    assert not (tmp_path / ".store.partial").exists()


def truncate(raw: Path) -> Path:
    path = first_image(raw)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def flip_a_byte(raw: Path) -> Path:
    path = first_image(raw)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    return path


def write_words(raw: Path) -> Path:
    path = first_image(raw)
    path.write_text("not an image")
    return path


def remove_mask(raw: Path) -> Path:
    path = sorted((raw / "masks").iterdir())[0]
    path.unlink()
    return path


DAMAGE: list[tuple[Callable[[Path], Path], str]] = [
    (truncate, "image-unreadable"),
    (flip_a_byte, "image-unreadable"),
    (write_words, "image-unreadable"),
    (remove_mask, "mask-missing"),
]


@pytest.mark.parametrize(("damage", "code"), DAMAGE)
def test_a_damaged_file_is_refused_by_name(
    raw: Path, tmp_path: Path, damage: Callable[[Path], Path], code: str
) -> None:
    path = damage(raw)
    with pytest.raises(CasesRefusedError) as caught:
        prepare("phantom", raw, tmp_path / "store")
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert caught.value.fault == 20
    assert not (tmp_path / "store").exists()
    assert not list(tmp_path.glob(".store*"))


def test_all_refusals_are_given_at_once(raw: Path, tmp_path: Path) -> None:
    masks = sorted((raw / "masks").iterdir())
    first, gone = truncate(raw), masks[1]
    gone.unlink()
    with pytest.raises(CasesRefusedError, match="1 more refused") as caught:
        prepare("phantom", raw, tmp_path / "store")
    assert {refused.file for refused in caught.value.refused} == {str(first), str(gone)}


def test_a_refused_case_left_out_on_request_stays_on_record(raw: Path, tmp_path: Path) -> None:
    path = truncate(raw)
    result = prepare("phantom", raw, tmp_path / "store", skip_refused=True)
    assert [refused.file for refused in result.refused] == [str(path)]
    assert path.stem not in {case.case_id for case in result.store.cases}
    record = json.loads((tmp_path / "store" / "prepare.json").read_text())
    assert [entry["file"] for entry in record["refused"]] == [str(path)]


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_is_refused(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "raw").mkdir()
    with pytest.raises(BusbenchError, match="missing or contains no file") as caught:
        prepare("busbra", tmp_path / "raw", tmp_path / "store")
    assert caught.value.code == "raw-missing"


def test_a_folder_of_another_dataset_is_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(BusbenchError, match="is not the BUS-BRA folder") as caught:
        prepare("busbra", phantoms, tmp_path / "store")
    assert caught.value.code == "raw-missing"


def test_an_unknown_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BusbenchError, match="No dataset is called") as caught:
        prepare("busbar", tmp_path, tmp_path / "store")
    assert caught.value.fault == 2


def make_busbra(root: Path) -> Path:
    for folder in ("Images", "Masks"):
        (root / folder).mkdir(parents=True)
    image, mask = np.full((40, 60), 90, np.uint8), np.zeros((40, 60), np.bool_)
    image[30:] = 140
    mask[10:20, 20:40] = True
    Image.fromarray(image).save(root / "Images" / "bus_0007-l.png")
    Image.fromarray(mask).save(root / "Masks" / "mask_0007-l.png")
    (root / "bus_data.csv").write_text(
        "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX\n"
        'bus_0007-l,7,fibroadenoma,benign,3,GE,60,40,left,"[21,11,20,10]"\n'
    )
    return root


def test_busbra_is_read_under_a_nested_archive_folder(tmp_path: Path) -> None:
    make_busbra(tmp_path / "raw" / "BUSBRA" / "BUSBRA")
    (case,) = prepare("busbra", tmp_path / "raw", tmp_path / "store").store.cases
    assert (case.case_id, case.label, case.patient) == ("bus_0007-l", "benign", "0007")
    assert (case.birads, case.device, case.repairs) == ("3", "GE", "")
    assert case.source_image == "BUSBRA/BUSBRA/Images/bus_0007-l.png"


def test_how_deep_a_release_was_unpacked_makes_no_other_store(tmp_path: Path) -> None:
    """Else a split frozen from one would be refused with the other."""
    make_busbra(tmp_path / "raw" / "BUSBRA")
    deep = prepare("busbra", tmp_path / "raw", tmp_path / "deep").store
    flat = prepare("busbra", tmp_path / "raw" / "BUSBRA", tmp_path / "flat").store
    assert deep.cases != flat.cases
    assert deep.info.digest == flat.info.digest


def test_metadata_that_disagree_with_the_pixels_are_repaired_or_refused(tmp_path: Path) -> None:
    table = make_busbra(tmp_path / "raw") / "bus_data.csv"
    table.write_text(table.read_text().replace("60,40", "60,44").replace("[21,", "[31,"))
    (case,) = prepare("busbra", tmp_path / "raw", tmp_path / "store").store.cases
    assert "metadata say 60 x 44 pixels" in case.repairs
    assert "metadata say box [31, 11, 20, 10]" in case.repairs
    with pytest.raises(CasesRefusedError, match=r"bus_0007-l\.png would have to be repaired"):
        prepare("busbra", tmp_path / "raw", tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("bus_0007-l,7", "bus_0007-l,8", "patient 0007 by its name"),
        ("benign", "unsure", "unknown class 'unsure'"),
        ("bus_0007-l,7", "bus_0008-l,8", "has no row"),
    ],
)
def test_a_busbra_row_that_contradicts_its_image_is_refused(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    table = make_busbra(tmp_path / "raw") / "bus_data.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(CasesRefusedError, match=expected) as caught:
        prepare("busbra", tmp_path / "raw", tmp_path / "store")
    assert "bus_0007-l.png" in caught.value.message


def test_repairs_are_given_beside_refusals(tmp_path: Path) -> None:
    root = make_busbra(tmp_path / "raw")
    table = root / "bus_data.csv"
    table.write_text(table.read_text().replace("60,40", "60,44"))
    shutil.copy(root / "Masks" / "mask_0007-l.png", root / "Masks" / "mask_0008-l.png")
    arguments = ["prepare", "busbra", "--raw", str(root), "--out", str(tmp_path / "store")]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, CasesRefusedError)
    assert list(done.exception.repaired) == ["bus_0007-l"]
    assert "1 repaired" in done.stderr
    assert "1 refused" in done.stderr


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    (make_busbra(tmp_path / "raw") / "bus_data.csv").unlink()
    with pytest.raises(BusbenchError, match=r"bus_data\.csv is missing") as caught:
        prepare("busbra", tmp_path / "raw", tmp_path / "store")
    assert caught.value.code == "raw-missing"


def test_a_mask_without_an_image_is_refused(tmp_path: Path) -> None:
    root = make_busbra(tmp_path / "raw")
    shutil.copy(root / "Masks" / "mask_0007-l.png", root / "Masks" / "mask_0008-l.png")
    with pytest.raises(CasesRefusedError, match=r"mask_0008-l\.png is a mask without") as caught:
        prepare("busbra", tmp_path / "raw", tmp_path / "store")
    assert caught.value.code == "mask-missing"


def test_the_verb_generates_phantoms_and_prints_json(tmp_path: Path) -> None:
    arguments = ["prepare", "phantom", "--raw", str(tmp_path / "raw"), "--patients", "2"]
    arguments += ["--out", str(tmp_path / "store"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["found"]["patients"] == 2
    assert json.loads(CliRunner().invoke(app, arguments).stdout)["resumed"]


def test_the_verb_shows_a_table_of_refusals(raw: Path, tmp_path: Path) -> None:
    path = truncate(raw)
    arguments = ["prepare", "phantom", "--raw", str(raw), "--out", str(tmp_path / "store")]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, CasesRefusedError)
    assert "1 refused" in done.stderr
    done = CliRunner().invoke(app, [*arguments, "--skip-refused"])
    assert done.exit_code == 0
    assert path.name in done.stdout.replace("\n", "").replace("│", "").replace(" ", "")


MISSTATED = ["bus_0845-s", "bus_0856-l", "bus_0857-r", "bus_0912-l", "bus_0990-l"]


def test_real_busbra_prepares_and_its_wrong_metadata_are_on_record(
    real_data: Path, tmp_path: Path
) -> None:
    listed = [case for case in adapter("busbra").read(real_data) if isinstance(case, RawCase)]
    labels = [case.label for case in listed]
    assert (labels.count("benign"), labels.count("malignant")) == (430, 442)
    assert len({case.patient for case in listed}) == 497
    for folder in ("Images", "Masks"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    (tmp_path / "raw" / "bus_data.csv").symlink_to(real_data / "BUSBRA" / "bus_data.csv")
    some = [case for case in listed if case.case_id in MISSTATED] + listed[::10]
    for path in {path for case in some for path in (case.image, *case.masks)}:
        (tmp_path / "raw" / path.parent.name / path.name).symlink_to(path)
    result = prepare("busbra", tmp_path / "raw", tmp_path / "store")
    assert sorted(result.repaired) == MISSTATED


def test_two_cases_of_one_id_are_refused(raw: Path, tmp_path: Path) -> None:
    table = raw / "cases.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    with pytest.raises(CasesRefusedError, match="second case with the id"):
        prepare("phantom", raw, tmp_path / "store")


def test_a_sample_is_not_written_for_a_refused_case(raw: Path, tmp_path: Path) -> None:
    truncate(raw)
    out = tmp_path / "store"
    store = prepare("phantom", raw, out, skip_refused=True).store
    assert len(list((out / "images").iterdir())) == len(store.cases)
