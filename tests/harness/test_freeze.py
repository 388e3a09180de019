"""Frozen splits: the same bytes each time, nothing withheld revealed, every change named."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from evaluator.documents.base import read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, pretty_json, sha256_bytes
from harness.audit import audit
from harness.cli import app
from harness.cli.splits import show
from harness.splits import FrozenSplit, commitment, freeze, make_secret, reveal, verify
from harness.splits.commitments import Reveal
from harness.splits.croissant import write_croissant
from harness.splits.lock import SplitLock
from harness.splits.manifest import complete_lock, inspect, table_bytes
from harness.store import CaseStore, png_bytes, rows_digest, write_store
from tests.support.samples import LABELS, SECRET, samples

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def frozen_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("frozen")
    store = write_store(root / "store", "phantom", samples())
    freeze(store, audit(store, near=False), root / "v1", version="v1", secret=SECRET)
    return root


@pytest.fixture
def root(frozen_once: Path, tmp_path: Path) -> Path:
    """A store and its frozen split, to be tampered with."""
    return Path(shutil.copytree(frozen_once, tmp_path / "root"))


def again(root: Path, **changed: object) -> FrozenSplit:
    store = CaseStore.open(root / "store")
    settings = {"version": "v1", "secret": SECRET, **changed}
    return freeze(store, audit(store, near=False), root / "v1", **settings)  # type: ignore[arg-type]


def test_an_opened_split_is_the_one_that_was_frozen(root: Path) -> None:
    split = FrozenSplit.open(root / "v1")
    store = CaseStore.open(root / "store")
    assert split.lock.store_digest == store.info.digest
    assert [row.case_id for row in split.rows] == sorted(case.case_id for case in store.cases)
    assert (split.lock.leaks, split.lock.audit.leaking) == (False, 0)
    assert split.lock.counts["all"] == {"benign": 16, "malignant": 16, "normal": 16}
    assert verify(root / "v1", store, secret=SECRET) == []


def test_a_split_is_not_shown_in_another_order_once_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store", "phantom", samples())
    report = audit(store, near=False)
    new = freeze(store, report, tmp_path / "v1", version="v1", secret=SECRET, folds=11)
    shown = []
    for split in (new, FrozenSplit.open(tmp_path / "v1")):
        show(split, "is")
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert re.findall(r"fold-\d+", shown[0]) == [f"fold-{n}" for n in range(11)] * 2


def test_a_twin_under_another_patient_joins_their_groups(root: Path) -> None:
    rows = {row.case_id: row for row in FrozenSplit.open(root / "v1").rows}
    joined = {rows[f"case_00{patient}-{view}"].patient_group for patient in (0, 1) for view in "lr"}
    assert joined == {"g0001"}


def test_nothing_withheld_is_in_the_split(root: Path) -> None:
    split = FrozenSplit.open(root / "v1")
    store = CaseStore.open(root / "store")
    published = b"".join(file.read_bytes() for file in (root / "v1").iterdir())
    for row, case in zip(split.rows, store.cases, strict=True):
        assert row.label == (None if row.part == "test" else case.label)
        assert (case.patient or "").encode() + b"," not in published
    masks = {case.case_id: case.mask_sha256 for case in store.cases}
    shown = set(split.lock.masks.values())
    for case_id in split.lock.commitments:
        assert masks[case_id] in shown or masks[case_id].encode() not in published


def test_the_audit_beside_the_split_tells_no_conflict_of_a_test_case(tmp_path: Path) -> None:
    """One image under two classes, of which one is withheld, would reveal the other."""
    made = samples()
    made[0].image[:] = made[2].image[:]  # patients 0 and 1, benign and malignant
    store = write_store(tmp_path / "store", "phantom", made)
    report = audit(store, near=False)
    assert any("class" in pair.conflict for pair in report.conflicts)
    for seed in range(8):
        out = tmp_path / f"v{seed}"
        split = freeze(store, report, out, version=out.name, seed=seed, secret=SECRET)
        published = json.loads((out / "audit.json").read_text())
        hidden = {row.case_id for row in split.rows if row.part == "test"}
        for pair in published["pairs"] + published["conflicts"]:
            assert not (pair["conflict"] and {pair["first"], pair["second"]} & hidden)
        assert verify(out, store, secret=SECRET) == []


def test_the_same_input_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "other", "phantom", reversed(samples()))
    freeze(store, audit(store, near=False), tmp_path / "v1", version="v1", secret=SECRET)
    for name in ("split.csv", "lock.json", "audit.json", "croissant.json"):
        assert (tmp_path / "v1" / name).read_bytes() == (root / "v1" / name).read_bytes()


def test_frozen_is_frozen(root: Path) -> None:
    before = {file.name: file.read_bytes() for file in (root / "v1").iterdir()}
    assert again(root) == FrozenSplit.open(root / "v1")
    for changed in ({"seed": 7}, {"folds": 3}, {"secret": bytes(32)}, {"version": "v2"}):
        with pytest.raises(
            BusbenchError, match=next(iter(changed)).replace("secret", "commit")
        ) as e:
            again(root, **changed)
        assert e.value.code == "split-frozen"
    assert {file.name: file.read_bytes() for file in (root / "v1").iterdir()} == before


def test_a_split_by_image_is_marked_as_leaking_with_its_share(root: Path) -> None:
    store = CaseStore.open(root / "store")
    report = audit(store, near=False)
    split = freeze(store, report, root / "i1", version="i1", policy="image", secret=SECRET)
    part_of = {row.case_id: row.part for row in split.rows}
    partners = {row.case_id: row.case_id[:-1] + "lr"[row.case_id[-1] == "l"] for row in split.rows}
    twins = {case_id: {partner} for case_id, partner in partners.items()}
    twins["case_000-l"].add("case_001-l")
    twins["case_001-l"].add("case_000-l")
    leaking = [
        c for c, t in twins.items() if part_of[c] == "test" and "train" in map(part_of.get, t)
    ]
    assert (split.lock.leaks, split.lock.audit.leaking) == (True, len(leaking))
    assert split.lock.audit.share == len(leaking) / 10 > 0
    assert verify(root / "i1", store, secret=SECRET) == []
    _, printed = run("splits", "verify", root / "i1")
    assert "It leaks: " in printed


def test_a_folder_with_something_else_is_left_alone(root: Path) -> None:
    (root / "v1" / "lock.json").unlink()
    with pytest.raises(BusbenchError) as raised:
        again(root)
    assert raised.value.code == "output-exists"
    assert not (root / "v1" / "lock.json").exists()


def test_an_audit_of_another_store_is_refused(root: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", "phantom", samples(30))
    store = CaseStore.open(root / "store")
    with pytest.raises(BusbenchError, match="audit"):
        freeze(store, audit(other, near=False), tmp_path / "v2", version="v2", secret=SECRET)


@pytest.mark.parametrize(
    "setting", [{"version": "V 1"}, {"folds": 1}, {"test_fraction": 1.5}, {"seed": -1}]
)
def test_a_setting_out_of_its_range_is_named(root: Path, setting: dict[str, object]) -> None:
    with pytest.raises(BusbenchError, match=next(iter(setting))) as raised:
        again(root, **setting)
    assert raised.value.code == "usage"


def test_a_mask_that_was_changed_is_not_frozen(root: Path) -> None:
    path = root / "store" / "masks" / "case_003-l.png"
    path.write_bytes(png_bytes(np.ones((24, 32), dtype=bool)))
    with pytest.raises(BusbenchError, match=r"case_003-l\.png"):
        again(root, version="v2")


def test_a_freeze_that_dies_leaves_nothing_that_looks_frozen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    shutil.rmtree(root / "v1")
    with monkeypatch.context() as patch:
        patch.setattr("harness.splits.freezing.write", die)
        with pytest.raises(KeyboardInterrupt):
            again(root)
    assert not (root / "v1").exists()
    assert again(root) == FrozenSplit.open(root / "v1")


# --- tampering: whatever changes is named ----------------------------------------------------


def case_of(root: Path, part: str) -> str:
    rows = FrozenSplit.open(root / "v1").rows
    return next(row.case_id for row in rows if row.part == part)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_changed_image_is_named(root: Path, part: str, kind: str) -> None:
    path = root / "store" / kind / f"{case_of(root, part)}.png"
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0] = ~pixels[0, 0]
    path.write_bytes(png_bytes(pixels))
    assert verify(root / "v1", CaseStore.open(root / "store")) == [
        f"{path}: the {kind.removesuffix('s')} was changed"
    ]
    path.unlink()
    assert verify(root / "v1", CaseStore.open(root / "store")) == [f"{path} cannot be read."]


def forge_store(root: Path, case_id: str, **changed: object) -> CaseStore:
    """A store whose table and digest fit together, with one case changed."""
    store = CaseStore.open(root / "store")
    cases = tuple(
        type(case)(**{**asdict(case), **(changed if case.case_id == case_id else {})})
        for case in store.cases
    )
    frame = pd.DataFrame([asdict(case) for case in cases])
    frame.to_parquet(root / "store" / "cases.parquet", index=False)
    info = store.info.model_copy(update={"digest": rows_digest(cases)})
    (root / "store" / "store.json").write_bytes(pretty_json(info.document()))
    return CaseStore.open(root / "store")


@pytest.mark.parametrize(
    ("field", "value", "part", "name"),
    [
        ("image_sha256", "0" * 64, "train", "image"),
        ("image_sha256", "0" * 64, "test", "image"),
        ("mask_sha256", "0" * 64, "train", "mask"),
        ("mask_sha256", "0" * 64, "test", "class or mask"),
        ("label", "normal", "train", "class"),
        ("label", "normal", "test", "class or mask"),
    ],
)
def test_a_case_of_another_store_is_named(
    root: Path, field: str, value: str, part: str, name: str
) -> None:
    case_id = case_of(root, part)
    opened = reveal(FrozenSplit.open(root / "v1"), CaseStore.open(root / "store"), SECRET)
    store = forge_store(root, case_id, **{field: value})
    wrong = f"store: the {name} of {case_id} is not the one that was"
    for proof in ({"secret": SECRET}, {"reveal": opened}):
        differences = verify(root / "v1", store, **proof)
        assert any(line.startswith(wrong) for line in differences), differences
    assert verify(root / "v1", store)  # without a proof too, if not by name


@pytest.mark.parametrize(("patients", "said"), [(23, "is missing"), (25, "is not in the split")])
def test_a_case_too_few_or_too_many_is_named(
    root: Path, tmp_path: Path, patients: int, said: str
) -> None:
    store = write_store(tmp_path / "other", "phantom", samples(patients))
    case_id = f"case_{min(patients, 24):03d}-l"
    assert f"store: the case {case_id} {said}" in verify(root / "v1", store)


LOCK_FIELDS = [name for name in SplitLock.model_fields if name not in ("schema_", "leaks", "audit")]
CHANGES: dict[type, Callable[[object], object]] = {
    str: lambda value: ("f" if str(value)[0] != "f" else "0") + str(value)[1:],
    int: lambda value: value + 1,  # type: ignore[operator]
    float: lambda value: value / 2,  # type: ignore[operator]
    dict: lambda value: dict([*value.items()][1:]) or {"nobody": "unclear"},  # type: ignore[attr-defined]
    list: lambda value: [*value, ["a", "b"]],  # type: ignore[misc]
}


@pytest.mark.parametrize("field", [*LOCK_FIELDS, "audit", "leaks", "schema"])
def test_a_changed_field_of_the_lock_is_named(root: Path, field: str) -> None:
    path = root / "v1" / "lock.json"
    lock = json.loads(path.read_text())
    if field == "policy":
        lock[field] = "image"
    elif field == "leaks":
        lock[field] = not lock[field]
    elif field == "audit":
        lock[field]["near"] = not lock[field]["near"]
    else:
        value = lock.get(field, 0.5)  # without a final part there is no final_fraction
        lock[field] = CHANGES[type(value)](value)
    path.write_text(json.dumps(lock))
    differences = verify(root / "v1")
    others = {"field_digests": "the field", "schema": "this release reads"}
    named = others.get(field, field)
    assert any("lock.json" in line and named in line for line in differences), differences
    with pytest.raises(BusbenchError) as raised:
        FrozenSplit.open(root / "v1")
    assert raised.value.code == "split-invalid"


def test_a_field_that_nobody_knows_is_named(root: Path) -> None:
    path = root / "v1" / "lock.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": 1}))
    assert "extra" in verify(root / "v1")[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda lines: [*lines[:3], *lines[4:]], "case_001-l is missing"),
        (lambda lines: [*lines, lines[3].replace("case_001", "case_900")], "case_900-l was added"),
        (lambda lines: [*lines[:3], lines[3][:-1] + "x", *lines[4:]], "line 4: image_sha256"),
        (lambda lines: [*lines[:3], lines[3] + ",x", *lines[4:]], "line 4: another number"),
        (lambda lines: [lines[0], *lines[2:], lines[1]], "its digest does not match"),
        (lambda lines: [*lines, lines[3]], "its digest does not match"),
        (lambda lines: [lines[0] + ",more", *lines[1:]], "other columns"),
        (lambda lines: [], "other columns"),
        (lambda lines: [li.replace("g0005", "g0006") for li in lines], "case_005-l was changed"),
    ],
)
def test_a_changed_row_is_named(
    root: Path, change: Callable[[list[str]], list[str]], named: str
) -> None:
    path = root / "v1" / "split.csv"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    differences = verify(root / "v1")
    assert any(named in line for line in differences), differences


def test_a_missing_table_is_named(root: Path) -> None:
    (root / "v1" / "split.csv").unlink()
    assert "split.csv" in verify(root / "v1")[0]


def forge(root: Path, **changed: object) -> None:
    """A lock whose digests over itself fit what it now says, as do those of croissant.json."""
    path = root / "v1" / "lock.json"
    lock = read(SplitLock, path, Code.SPLIT_INVALID, remedy="")
    kept = {k: v for k, v in lock.document().items() if k not in ("field_digests", "digest")}
    path.write_bytes(pretty_json(complete_lock({**kept, **changed}).document()))
    write_croissant(inspect(root / "v1")[0])


@pytest.mark.parametrize("changed", [{"seed": 7}, {"test_fraction": 0.5}, {"folds": 4}])
def test_a_forged_rule_is_found_by_drawing_again(root: Path, changed: dict[str, object]) -> None:
    forge(root, **changed)
    differences = verify(root / "v1", CaseStore.open(root / "store"))
    assert any("drawing again" in line or "counts" in line for line in differences), differences


def test_forged_counts_are_found_with_the_store(root: Path) -> None:
    lock = FrozenSplit.open(root / "v1").lock
    test = lock.counts["test"]
    swapped = dict(
        zip(test, (test["benign"] + 1, test["malignant"] - 1, test["normal"]), strict=True)
    )
    forge(root, counts={**lock.counts, "test": swapped})
    assert verify(root / "v1", CaseStore.open(root / "store")) == [
        "lock.json: counts or quartiles are not those of the store"
    ]


def test_a_forged_row_is_found_with_the_store(root: Path) -> None:
    split = FrozenSplit.open(root / "v1")
    moved = {"part": "train", "fold": 0, "label": "benign"}
    test = next(row for row in split.rows if row.part == "test")
    rows = [row.model_copy(update=moved if row == test else {}) for row in split.rows]
    data = table_bytes(rows)
    (root / "v1" / "split.csv").write_bytes(data)
    forge(root, split_sha256=sha256_bytes(data), rows={row.case_id: row.digest for row in rows})
    assert f"group {test.patient_group} is on two sides" in "\n".join(verify(root / "v1"))


def test_an_audit_that_tells_other_groups_is_named(root: Path) -> None:
    path = root / "v1" / "audit.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps({**report, "groups": report["groups"][1:]}))
    assert verify(root / "v1") == ["audit.json: its groups are not those of split.csv"]


# --- commitments -----------------------------------------------------------------------------


def test_a_commitment_is_what_the_documents_say() -> None:
    text = '["busbench/commitment/v1","{}","case-1","benign","{}"]'.format("a" * 64, "b" * 64)
    assert commitment("a" * 64, "case-1", "benign", mask_sha256="b" * 64) == sha256_bytes(
        text.encode()
    )


def test_revealed_labels_open_every_commitment(root: Path) -> None:
    split, store = FrozenSplit.open(root / "v1"), CaseStore.open(root / "store")
    document = reveal(split, store, SECRET)
    assert document.cases.keys() == split.lock.commitments.keys()
    assert verify(root / "v1", store, document) == []
    assert SECRET.hex().encode() not in canonical_json(document.document())


def test_the_check_in_the_documents_opens_every_commitment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(__file__).parents[2].joinpath("docs/freeze-a-release.md").read_text()
    (check,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    split, store = FrozenSplit.open(root / "v1"), CaseStore.open(root / "store")
    shutil.copytree(root / "v1", root / "splits" / "busbra" / "v1")
    document = reveal(split, store, SECRET)
    write(document, root / "reveal.json")
    monkeypatch.chdir(root)
    exec(compile(check, "docs", "exec"), {})
    case_id = min(document.cases)
    wrong = document.cases[case_id].model_copy(update={"salt": "0" * 64})
    write(document.model_copy(update={"cases": {case_id: wrong}}), root / "reveal.json")
    with pytest.raises(AssertionError, match=case_id):
        exec(compile(check, "docs", "exec"), {})


@pytest.mark.parametrize("field", ["class", "mask_sha256", "salt"])
def test_a_label_that_changed_after_the_freeze_is_named(root: Path, field: str) -> None:
    split, store = FrozenSplit.open(root / "v1"), CaseStore.open(root / "store")
    document = reveal(split, store, SECRET).document()
    case_id, case = next(iter(document["cases"].items()))
    other = next(label for label in LABELS if label != case["class"])
    case[field] = other if field == "class" else "0" * 64
    differences = verify(root / "v1", reveal=Reveal.model_validate(document))
    assert differences == [f"the class or mask of {case_id} is not the one that was committed to"]


def test_a_reveal_document_must_name_the_test_cases_and_no_others(root: Path) -> None:
    split, store = FrozenSplit.open(root / "v1"), CaseStore.open(root / "store")
    document = reveal(split, store, SECRET).document()
    case_id, case = document["cases"].popitem()
    document["cases"]["case_zzz"] = case
    differences = verify(root / "v1", reveal=Reveal.model_validate(document))
    assert any(f"does not name the hidden case {case_id}" in line for line in differences)
    assert any("names case_zzz" in line for line in differences)


def test_another_secret_reveals_nothing(root: Path) -> None:
    split, store = FrozenSplit.open(root / "v1"), CaseStore.open(root / "store")
    with pytest.raises(BusbenchError, match="do not open"):
        reveal(split, store, bytes(32))


def test_a_new_secret_is_its_owners_alone_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "v1.secret"
    secret = make_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (len(secret), make_secret(path)) == (32, secret)
    path.write_text("hello")
    with pytest.raises(BusbenchError) as raised:
        make_secret(path)
    assert raised.value.code == "keys-invalid"


# --- the verbs -------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, BusbenchError):
        raise result.exception
    return result.exit_code, result.stdout


def test_no_secret_is_made_without_a_word(root: Path) -> None:
    """Whoever loses it can prove no label, and nothing can make it again."""
    arguments = ["freeze", str(root / "store"), "--out", str(root / "said" / "v1")]
    first, again = (CliRunner().invoke(app, arguments) for _ in range(2))
    assert f"{root / 'said' / 'v1.secret'} is the secret of this split" in first.stderr
    assert "is the secret" not in again.stderr


def test_the_verbs_freeze_verify_and_reveal(root: Path) -> None:
    store, split = root / "store", root / "new" / "v1"
    code, printed = run("freeze", store, "--out", split)
    assert (code, "It does not leak" in printed) == (0, True)
    assert "is frozen already" in run("freeze", store, "--out", split)[1]
    assert json.loads(run("freeze", store, "--out", split, "--json")[1])["version"] == "v1"
    assert "is unchanged" in run("splits", "verify", split, "--store", store)[1]
    run("splits", "reveal", split, "--store", store, "--out", root / "reveal.json")
    assert run("splits", "verify", split, "--reveal", root / "reveal.json")[0] == 0
    (split / "split.csv").write_text("")
    code, printed = run("splits", "verify", split, "--json")
    assert (code, json.loads(printed)["holds"]) == (20, False)


def test_a_frozen_split_never_gets_a_second_secret(root: Path) -> None:
    split = root / "new" / "v1"
    run("freeze", root / "store", "--out", split)
    split.with_name("v1.secret").unlink()
    with pytest.raises(BusbenchError) as raised:
        run("freeze", root / "store", "--out", split)
    assert raised.value.code == "keys-invalid"
    assert not split.with_name("v1.secret").exists()
