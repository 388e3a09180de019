"""Holds the reading of published splits to its word: every form, one truth, nothing guessed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluator.errors import BusbenchError, Code
from harness.audit.naming import CaseNames
from harness.audit.published import Published, read_published
from harness.audit.words import Part
from harness.store import CaseStore, Sample, write_store

# Twelve cases as BUSI has them: ids that say nothing, file names with spaces, two folders.
CLASSES = ("benign", "malignant")
SOURCES = [f"BUSI/{label}/{label} ({n}).png" for label in CLASSES for n in range(1, 7)]
IDS = [f"busi_{number:03x}" for number in range(12)]
TRUTH: Mapping[Part, list[int]] = {
    "train": [0, 1, 2, 6, 7, 8],
    "val": [3, 9],
    "test": [4, 5, 10, 11],
}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)


def sample(case_id: str, source: str, seed: int, patient: str | None = None) -> Sample:
    mask = np.zeros((24, 32), dtype=bool)
    mask[4:9, 4:9] = True
    label = "malignant" if "malignant" in source.lower() else "benign"
    return Sample(case_id, label, patient, noise(seed), mask, source, "")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    samples = [sample(i, s, n) for n, (i, s) in enumerate(zip(IDS, SOURCES, strict=True))]
    return write_store(tmp_path_factory.mktemp("published") / "store", "busi", samples)


# How a name of a case may be spelled.
SPELLINGS: dict[str, Callable[[int], str]] = {
    "case id": lambda n: IDS[n],
    "file": lambda n: Path(SOURCES[n]).name,
    "stem": lambda n: Path(SOURCES[n]).stem,
    "path": lambda n: SOURCES[n],
    "backslashes": lambda n: SOURCES[n].replace("/", "\\"),
    "other folders": lambda n: f"/data/train/images/{Path(SOURCES[n]).name}",
    "other suffix": lambda n: f"{Path(SOURCES[n]).stem}.JPG",
    "medical suffix": lambda n: f"{Path(SOURCES[n]).stem}.nrrd",
    "capitals": lambda n: Path(SOURCES[n]).name.upper(),
    "underscores": lambda n: Path(SOURCES[n]).stem.replace(" (", "_").rstrip(")"),
    "channel of nnU-Net": lambda n: f"{Path(SOURCES[n]).stem}_0000.nii.gz",
}
Names = dict[Part, list[str]]


def as_table(
    names: Names, folder: Path, separator: str = ",", encoding: str = "utf-8"
) -> list[str]:
    rows = [f'"{name}"{separator}{part}' for part, named in names.items() for name in named]
    path = folder / "split.csv"
    path.write_text("\n".join((f"Image_Name{separator}Split", *rows, "")), encoding=encoding)
    return [str(path)]


def as_spreadsheet(names: Names, folder: Path) -> list[str]:
    return as_table(names, folder, ";", "utf-16")


def as_columns(names: Names, folder: Path) -> list[str]:
    longest = max(map(len, names.values()))
    columns = [[*named, *[""] * (longest - len(named))] for named in names.values()]
    rows = [",".join(f'"{cell}"' for cell in row) for row in zip(*columns, strict=True)]
    path = folder / "lists.csv"
    path.write_text("\n".join((",".join(names), *rows, "")))
    return [str(path)]


def as_lists(names: Names, folder: Path) -> list[str]:
    for part, named in names.items():
        (folder / f"busi_{part}.txt").write_text("\r\n".join(named) + "\r\n\r\n")
    return [str(folder)]


def as_named_lists(names: Names, folder: Path) -> list[str]:
    for number, named in enumerate(names.values()):
        (folder / f"{number}.lst").write_text("\n".join(named))
    return [f"{part}={folder / str(number)}.lst" for number, part in enumerate(names)]


def as_datalist(names: Names, folder: Path) -> list[str]:
    keys = {"train": "training", "val": "validation", "test": "test"}
    said = {keys[part]: [{"image": n, "label": n} for n in named] for part, named in names.items()}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"name": "busi", "numTraining": 6, **said}))
    return [str(path)]


def as_coco(names: Names, folder: Path) -> list[str]:
    for part, named in names.items():
        images = [{"id": n, "file_name": name} for n, name in enumerate(named)]
        (folder / f"instances_{part}.json").write_text(json.dumps({"images": images}))
    return [str(folder)]


FORMS: dict[str, Callable[[Names, Path], list[str]]] = {
    "table": as_table,
    "spreadsheet": as_spreadsheet,
    "column a part": as_columns,
    "lists": as_lists,
    "named lists": as_named_lists,
    "datalist": as_datalist,
    "COCO": as_coco,
}


def ids(numbers: list[int]) -> frozenset[str]:
    return frozenset(IDS[number] for number in numbers)


def truth() -> dict[Part, frozenset[str]]:
    return {part: ids(numbers) for part, numbers in TRUTH.items()}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("form", FORMS)
def test_no_form_and_no_spelling_changes_what_a_split_says(
    form: str, spelling: str, store: CaseStore, tmp_path: Path
) -> None:
    named: Names = {part: [SPELLINGS[spelling](n) for n in TRUTH[part]] for part in TRUTH}
    split = read_published(FORMS[form](named, tmp_path), store)
    assert split.splits == {"": truth()}
    assert (split.unmatched, split.named) == ((), frozenset(IDS))


def comparisons(split: Published) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    return {name: (held_out, training) for name, held_out, training in split.comparisons()}


def test_no_validation_case_is_left_out_of_what_the_test_part_is_compared_with(
    store: CaseStore, tmp_path: Path
) -> None:
    named: Names = {part: [IDS[n] for n in TRUTH[part]] for part in TRUTH}
    found = comparisons(read_published(as_table(named, tmp_path), store))
    sides = truth()
    assert found == {
        "test": (sides["test"], sides["train"] | sides["val"]),
        "validation": (sides["val"], sides["train"]),
    }


# How a tree of image files may be laid out: the folders of a part and a class.
TREES: dict[str, Callable[[Part, str], tuple[str, str]]] = {
    "part first": lambda part, label: (f"{part}/images", f"{part}/masks"),
    "part last": lambda part, label: (f"images/{part}", f"labels/{part}"),
    "classes": lambda part, label: (f"{part}/{label}", f"{part}/{label}/gt"),
    "nnU-Net": lambda part, label: (f"images{NNUNET[part]}", f"labels{NNUNET[part]}"),
    "named sets": lambda part, label: (f"BUSI_{part}_set/img", f"BUSI_{part}_set/mask"),
}
NNUNET: dict[Part, str] = {"train": "Tr", "val": "Val", "test": "Ts"}


def plant_tree(
    folder: Path, store: CaseStore, layout: str, name: Callable[[int], str], *, colour: bool = False
) -> None:
    for part, numbers in TRUTH.items():
        for number in numbers:
            case = store.cases[number]
            images, masks = (folder / place for place in TREES[layout](part, case.label))
            for place in (images, masks):
                place.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(store.image(case.case_id))
            (image.convert("RGB") if colour else image).save(images / name(number))
            Image.fromarray(store.mask(case.case_id)).save(masks / name(number))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        lambda n: Path(SOURCES[n]).name,
        lambda n: f"{11 - n:04d}.bmp",
        lambda n: f"{IDS[n]}_0000.png",
    ],
    ids=["own names", "renumbered", "identifiers"],
)
@pytest.mark.parametrize("layout", TREES)
def test_no_tree_of_images_is_misread(
    layout: str, name: Callable[[int], str], colour: bool, store: CaseStore, tmp_path: Path
) -> None:
    """Whatever the files are called, their pixels say which case they are."""
    plant_tree(tmp_path, store, layout, name, colour=colour)
    split = read_published([str(tmp_path)], store)
    assert split.splits == {"": truth()}
    assert (split.by_name_alone, split.unmatched) == (0, ())


def test_no_file_with_the_pixels_of_one_case_passes_for_another(
    store: CaseStore, tmp_path: Path
) -> None:
    """Names shifted by one: pixels decide, and it is said."""
    plant_tree(tmp_path, store, "part first", lambda n: Path(SOURCES[(n + 1) % 12]).name)
    split = read_published([str(tmp_path)], store)
    assert split.splits == {"": truth()}
    assert split.renamed == 12


def test_resized_files_are_matched_by_name_and_counted(store: CaseStore, tmp_path: Path) -> None:
    for part, numbers in TRUTH.items():
        (tmp_path / part).mkdir()
        for number in numbers:
            image = Image.fromarray(store.image(IDS[number])).resize((16, 16))
            image.save(tmp_path / part / Path(SOURCES[number]).name)
    split = read_published([f"{part}={tmp_path / part}" for part in TRUTH], store)
    assert split.splits == {"": truth()}
    assert split.by_name_alone == 12


def test_folds_of_a_tree_are_apart(store: CaseStore, tmp_path: Path) -> None:
    for fold in range(2):
        for number in range(12):
            folder = tmp_path / f"fold{fold}" / ("test" if number % 2 == fold else "train")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(store.image(IDS[number])).save(folder / f"{IDS[number]}.png")
    split = read_published([str(tmp_path)], store)
    even, odd = ids([*range(0, 12, 2)]), ids([*range(1, 12, 2)])
    assert comparisons(split) == {"fold0, test": (even, odd), "fold1, test": (odd, even)}


def refusal(given: list[str], store: CaseStore, *, partial: bool = False) -> BusbenchError:
    with pytest.raises(BusbenchError) as refused:
        read_published(given, store, partial=partial)
    return refused.value


def write_text(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_nnunets_folds_are_each_judged(store: CaseStore, tmp_path: Path) -> None:
    folds = [{"train": IDS[:4] + IDS[8:], "val": IDS[4:8]}, {"train": IDS[4:], "val": IDS[:4]}]
    path = write_text(tmp_path / "splits_final.json", json.dumps(folds))
    for place in (path, str(tmp_path)):  # the file, or nnU-Net's folder
        assert comparisons(read_published([place], store)) == {
            "fold 0, validation": (frozenset(IDS[4:8]), frozenset(IDS[:4] + IDS[8:])),
            "fold 1, validation": (frozenset(IDS[:4]), frozenset(IDS[4:])),
        }


def test_nnunets_dataset_has_folds_and_a_test_part(store: CaseStore, tmp_path: Path) -> None:
    raw, preprocessed = (
        tmp_path / f"nnUNet_{kind}" / "Dataset007" for kind in ("raw", "preprocessed")
    )
    plant_tree(raw, store, "nnU-Net", lambda n: f"{IDS[n]}_0000.png")
    inner = sorted(truth()["train"])
    folds = [{"train": inner[:3], "val": inner[3:]}, {"train": inner[3:], "val": inner[:3]}]
    write_text(preprocessed / "splits_final.json", json.dumps(folds))
    write_text(raw / "dataset.json", json.dumps({"numTraining": 8}))
    split = read_published([str(tmp_path)], store)
    assert split.splits[""] == truth()
    assert comparisons(split)["fold 1, validation"] == (frozenset(inner[:3]), frozenset(inner[3:]))
    assert len(comparisons(split)) == 4


def test_monais_folds_are_each_judged(store: CaseStore, tmp_path: Path) -> None:
    entries = [{"image": f"./{i}.png", "fold": n % 2} for n, i in enumerate(IDS[:8])]
    said = {"training": entries, "test": [f"./{i}.png" for i in IDS[8:]]}
    found = comparisons(read_published([write_text(tmp_path / "d.json", json.dumps(said))], store))
    assert found == {
        "test": (frozenset(IDS[8:]), frozenset(IDS[:8])),
        "fold 0, validation": (frozenset(IDS[:8:2]), frozenset(IDS[1:8:2])),
        "fold 1, validation": (frozenset(IDS[1:8:2]), frozenset(IDS[:8:2])),
    }


def test_folds_by_name_are_each_judged(store: CaseStore, tmp_path: Path) -> None:
    folds = {f"fold_{n}": {"train": IDS[:6], "val": IDS[6:9], "test": IDS[9:]} for n in range(2)}
    path = write_text(tmp_path / "folds.json", json.dumps(folds))
    found = comparisons(read_published([path], store))
    assert len(found) == 4
    assert found["fold_1, test"] == (frozenset(IDS[9:]), frozenset(IDS[:9]))


def test_our_own_split_and_its_folds_are_read(store: CaseStore, tmp_path: Path) -> None:
    rows = [f"{i},test," if n >= 8 else f"{i},train,{n % 2}" for n, i in enumerate(IDS)]
    write_text(tmp_path / "split.csv", "\n".join(("case_id,part,fold", *rows)))
    assert comparisons(read_published([str(tmp_path)], store)) == {
        "test": (frozenset(IDS[8:]), frozenset(IDS[:8])),
        "fold 0, validation": (frozenset(IDS[:8:2]), frozenset(IDS[1:8:2])),
        "fold 1, validation": (frozenset(IDS[1:8:2]), frozenset(IDS[:8:2])),
    }


def test_inner_validation_flags_are_not_forgotten(store: CaseStore, tmp_path: Path) -> None:
    rows = ["ID,Pathology,kFold,valid_1,valid_2"]
    for n, case_id in enumerate(IDS[:6]):
        flags = ("NaN", str(n % 2)) if n < 3 else (str(n % 2), "NaN")
        rows.append(f"{case_id},benign,{1 if n < 3 else 2},{','.join(flags)}")
    path = write_text(tmp_path / "cv.csv", "\n".join(rows))
    found = comparisons(read_published([path], store, partial=True))
    one, two = frozenset(IDS[:3]), frozenset(IDS[3:6])
    assert found == {
        "fold 1, test": (one, two),
        "fold 1, validation": (frozenset([IDS[4]]), frozenset([IDS[3], IDS[5]])),
        "fold 2, test": (two, one),
        "fold 2, validation": (frozenset([IDS[0], IDS[2]]), frozenset([IDS[1]])),
    }


def test_a_row_for_each_case_and_fold_is_read(store: CaseStore, tmp_path: Path) -> None:
    rows = [
        f"{fold};{case_id};{'valid' if n % 2 == fold else 'training'}"
        for fold in (0, 1)
        for n, case_id in enumerate(IDS[:4])
    ]
    path = write_text(tmp_path / "long.csv", "\n".join(("fold;image;subset", *rows)))
    even, odd = frozenset(IDS[:4:2]), frozenset(IDS[1:4:2])
    assert comparisons(read_published([path], store, partial=True)) == {
        "fold 0, validation": (even, odd),
        "fold 1, validation": (odd, even),
    }


def test_a_column_for_each_fold_is_read(store: CaseStore, tmp_path: Path) -> None:
    rows = [
        f"{i},{'test' if n % 2 else 'train'},{'train' if n % 2 else 'test'}"
        for n, i in enumerate(IDS)
    ]
    path = write_text(tmp_path / "wide.csv", "\n".join(("id,fold_1,fold_2", *rows)))
    even, odd = frozenset(IDS[::2]), frozenset(IDS[1::2])
    assert comparisons(read_published([path], store)) == {
        "fold 1, test": (odd, even),
        "fold 2, test": (even, odd),
    }


def test_numbered_lists_are_folds_that_share_a_test_part(store: CaseStore, tmp_path: Path) -> None:
    for fold, (train, val) in enumerate(((IDS[:4], IDS[4:8]), (IDS[4:8], IDS[:4])), start=1):
        write_text(tmp_path / f"busi_train{fold}.txt", "\n".join(train))
        write_text(tmp_path / f"busi_val{fold}.txt", "\n".join(val))
    write_text(tmp_path / "test.txt", "\n".join(IDS[8:]))
    write_text(tmp_path / "readme.txt", "Lists of names.")
    found = comparisons(read_published([str(tmp_path)], store))
    assert set(found) == {f"fold {n}, {side}" for n in (1, 2) for side in ("test", "validation")}
    assert found["fold 2, validation"] == (frozenset(IDS[:4]), frozenset(IDS[4:8]))
    assert found["fold 1, test"] == (frozenset(IDS[8:]), frozenset(IDS[:8]))


def test_a_mask_beside_its_image_in_a_list_is_left_out(store: CaseStore, tmp_path: Path) -> None:
    for part in TRUTH:
        lines = [f"{SOURCES[n]} {SOURCES[n][:-4]}_mask.png" for n in TRUTH[part]]
        write_text(tmp_path / f"{part}.txt", "\n".join(lines))
    assert read_published([str(tmp_path)], store).splits == {"": truth()}


def test_a_case_in_two_parts_is_kept_in_both(store: CaseStore, tmp_path: Path) -> None:
    write_text(tmp_path / "train.txt", "\n".join(IDS[:8]))
    write_text(tmp_path / "test.txt", "\n".join(IDS[7:]))
    ((held_out, training),) = comparisons(read_published([str(tmp_path)], store)).values()
    assert held_out & training == {IDS[7]}


WRONG = {
    "empty": "",
    "other columns": "x,y\n1,2\n",
    "a case twice": f"case_id,part\n{IDS[0]},test\n{IDS[0]},train\n",
    "unknown part": f"case_id,part\n{IDS[0]},test\n{IDS[1]},dev\n",
    "a number for a part": f"case_id,split\n{IDS[0]},0\n{IDS[1]},1\n",
    "no training": f"case_id,part\n{IDS[0]},test\n{IDS[1]},test\n",
    "nothing held out": f"case_id,part\n{IDS[0]},train\n",
    "two columns of parts": f"case_id,split,set\n{IDS[0]},train,test\n{IDS[1]},test,train\n",
    "a flag that is none": f"ID,kFold,valid_1\n{IDS[0]},1,NaN\n{IDS[1]},2,NaN\n",
    "unknown names": "case_id,part\nzz,test\nyy,train\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_table_that_is_no_split_is_refused(text: str, store: CaseStore, tmp_path: Path) -> None:
    error = refusal([write_text(tmp_path / "split.csv", text)], store)
    assert error.code == Code.SPLIT_INVALID and str(tmp_path) not in error.remedy


JSONS = [
    "",
    "{",
    "[]",
    "3",
    "[1]",
    "{}",
    '{"train": 3}',
    '{"train": [1], "test": [2]}',
    "[" * 99_999,
]


@pytest.mark.parametrize("text", JSONS, ids=range(len(JSONS)))
def test_json_that_is_no_split_is_refused(text: str, store: CaseStore, tmp_path: Path) -> None:
    error = refusal([write_text(tmp_path / "splits_final.json", text)], store)
    assert error.code == Code.SPLIT_INVALID


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".json", ".xlsx", ".lst"])
def test_garbage_is_refused_as_no_split(suffix: str, store: CaseStore, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}{suffix}").write_bytes(bytes(range(128, 256)))
    lists = [f"{part}={tmp_path / part}{suffix}" for part in ("train", "test")]
    for paths in ([str(tmp_path)], [str(tmp_path / f"test{suffix}")], lists):
        assert refusal(paths, store).code == Code.SPLIT_INVALID


@pytest.mark.parametrize("name", ["train.txt", "splits_final.pkl", "split.yaml"])
def test_a_file_that_is_no_whole_split_is_refused(
    name: str, store: CaseStore, tmp_path: Path
) -> None:
    error = refusal([write_text(tmp_path / name, IDS[0])], store)
    assert "train=PATH" in error.remedy


@pytest.mark.parametrize(
    "given", [["none.csv"], ["train=none.txt"], ["dev=.", "test=."], ["train=", "test=."]]
)
def test_what_is_not_there_is_a_misused_command(given: list[str], store: CaseStore) -> None:
    assert refusal(given, store).code == Code.USAGE


def test_a_folder_without_a_split_or_with_several_is_refused(
    store: CaseStore, tmp_path: Path
) -> None:
    assert "no split" in refusal([str(tmp_path)], store).message
    write_text(tmp_path / "train.txt", IDS[0])
    write_text(tmp_path / "test.txt", IDS[1])
    folds = json.dumps([{"train": IDS[:1], "val": IDS[1:2]}])
    write_text(tmp_path / "splits_final.json", folds)
    assert "several splits" in refusal([str(tmp_path)], store).message
    write_text(tmp_path / "a" / "splits_final.json", folds)
    write_text(tmp_path / "b" / "splits_final.json", folds)
    assert "several splits" in refusal([str(tmp_path)], store).message


def test_two_lists_of_one_part_are_refused(store: CaseStore, tmp_path: Path) -> None:
    for name in ("train.txt", "busi_train.txt", "test.txt"):
        write_text(tmp_path / name, IDS[0])
    assert "two lists" in refusal([str(tmp_path)], store).message


def test_only_a_form_without_test_cases_may_lack_some(store: CaseStore, tmp_path: Path) -> None:
    """nnU-Net's folds name the training part alone; of any other form, a part is no split."""
    folds = [{"train": IDS[:4], "val": IDS[4:8]}, {"train": IDS[4:8], "val": IDS[:4]}]
    path = write_text(tmp_path / "splits_final.json", json.dumps(folds))
    assert read_published([path], store).named == frozenset(IDS[:8])
    named: Names = {"train": IDS[:4], "test": IDS[4:8]}
    for number, form in enumerate(FORMS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        split = form(named, folder)
        error = refusal(split, store)
        assert "lacks 4 cases" in error.message and "--partial" in error.remedy
        assert read_published(split, store, partial=True).named == frozenset(IDS[:8])


def test_names_of_no_case_are_counted_with_examples(store: CaseStore, tmp_path: Path) -> None:
    rows = [f"{i},train" for i in IDS[:6]] + [f"{i},test" for i in IDS[6:]]
    rows += [f"alien {n},test" for n in range(20)]
    path = write_text(tmp_path / "split.csv", "\n".join(("case_id,part", *rows)))
    error = refusal([path], store)
    assert "names 20 cases" in error.message and "'alien 0', 'alien 1'" in error.message
    assert "--partial" in error.remedy
    split = read_published([path], store, partial=True)
    assert len(split.unmatched) == 20 and split.named == frozenset(IDS)


def test_a_split_of_another_store_is_refused_even_where_names_may_be_skipped(
    store: CaseStore, tmp_path: Path
) -> None:
    path = write_text(tmp_path / "split.csv", "case_id,part\nzz,test\nyy,train\n")
    error = refusal([path], store, partial=True)
    assert "names 2 cases" in error.message and "--partial" not in error.remedy


def test_a_name_that_fits_two_cases_is_never_guessed(tmp_path: Path) -> None:
    """BUS-UC numbers its benign and its malignant images alike."""
    sources = [
        f"BUS_UC/{label}/images/{n:03d}.png" for label in ("Benign", "Malignant") for n in (1, 2)
    ]
    samples = [sample(f"c{n}", source, n) for n, source in enumerate(sources)]
    store = write_store(tmp_path / "store", "bus-uc", samples)
    text = "case_id,part\n001.png,train\n002.png,test\n"
    error = refusal([write_text(tmp_path / "a.csv", text)], store)
    assert "2 names fit several" in error.message and "c0 and c2" in error.message
    rows = ("case_id,part", "Benign/1,train", "Malignant/001,test", "malignant\\images\\2.PNG,val")
    split = read_published([write_text(tmp_path / "b.csv", "\n".join(rows))], store, partial=True)
    assert split.splits == {"": {"train": {"c0"}, "test": {"c2"}, "val": {"c3"}}}


def test_no_name_is_matched_against_the_class_that_it_states(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", "bus-uc", [sample("c0", "BUS_UC/Benign/images/001.png", 0)])
    assert CaseNames(store.cases).find("Malignant/001.png") == frozenset()
    assert CaseNames(store.cases).find("001.png") == {"c0"}


def test_identical_files_are_separated_by_name_or_refused(tmp_path: Path) -> None:
    store = write_store(
        tmp_path / "store", "phantom", [sample("a", "a.png", 0), sample("b", "b.png", 0)]
    )
    for name, part in (("a", "train"), ("b", "test")):
        (tmp_path / "tree" / part).mkdir(parents=True)
        Image.fromarray(store.image(name)).save(tmp_path / "tree" / part / f"{name}.png")
    split = read_published([str(tmp_path / "tree")], store)
    assert split.splits == {"": {"train": {"a"}, "test": {"b"}}}
    (tmp_path / "tree" / "test" / "b.png").rename(tmp_path / "tree" / "test" / "x.png")
    assert "fit several" in refusal([str(tmp_path / "tree")], store).message


@given(st.lists(st.sampled_from(["train", "val", "test", ""]), min_size=12, max_size=12))
def test_the_digest_follows_what_is_said_and_not_how(store: CaseStore, parts: list[str]) -> None:
    if not {"train", "test"} <= set(parts):
        return
    with tempfile.TemporaryDirectory() as name:
        rows = [f"{i},{part}" for i, part in zip(IDS, parts, strict=True)]
        table = write_text(Path(name) / "a.csv", "\n".join(("case_id,part", *rows)))
        lists = Path(name) / "lists"
        for part in {*parts} - {""}:
            named = [Path(SOURCES[n]).name for n in range(11, -1, -1) if parts[n] == part]
            write_text(lists / f"{part}.txt", "\n".join(named))
        one, other = (read_published([place], store, partial=True) for place in (table, str(lists)))
        assert one.digest == other.digest
        assert one.named == {i for i, part in zip(IDS, parts, strict=True) if part}
