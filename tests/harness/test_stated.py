"""Known pairs, cases to leave out, and images with two truths, as an organiser freezes."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evaluator.errors import BusbenchError
from harness.audit import audit
from harness.cli import app
from harness.sealing.bundle import Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, freeze, reveal, verify
from harness.splits.manifest import complete_lock, table_bytes
from harness.splits.stated import read_excluded, read_pairs
from harness.store import Case, CaseStore, Sample, write_store
from tests.support.samples import SECRET, samples


def without_patients() -> list[Sample]:
    """Two views of each patient, whom nobody knows, in files with names of their own."""
    return [
        dataclasses.replace(one, patient=None, source_image=f"raw/image ({number}).png")
        for number, one in enumerate(samples())
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    return write_store(tmp_path_factory.mktemp("stated") / "store", "phantom", without_patients())


def table(path: Path, head: str, *rows: str) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def names_of(case: Case) -> tuple[str, ...]:
    """What the organiser may call a case."""
    file = case.source_image.rpartition("/")[2]
    return case.case_id, case.source_image, file, file.removesuffix(".png")


def test_no_known_pair_is_on_two_sides(store: CaseStore, tmp_path: Path) -> None:
    chance = random.Random(0)
    names = [names_of(case) for case in store.cases]
    for round_ in range(8):
        linked = [chance.sample(range(len(store.cases)), 2) for _ in range(12)]
        rows = [",".join(chance.choice(names[n]) for n in pair) for pair in linked]
        pairs = read_pairs(table(tmp_path / "pairs.csv", "first,second", *rows), store)
        out = tmp_path / f"v{round_}"
        report = audit(store, near=False)
        split = freeze(store, report, out, version="v1", secret=SECRET, pairs=pairs)
        place = {row.case_id: (row.part, row.fold) for row in split.rows}
        for one, other in linked:
            assert place[store.cases[one].case_id] == place[store.cases[other].case_id]
        stated = {tuple(sorted(store.cases[n].case_id for n in pair)) for pair in linked}
        assert set(split.lock.stated_pairs or ()) == stated
        assert not verify(out, store)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_out_is_in_no_part_and_on_record(
    store: CaseStore, keys: Keys, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    left_out = chance.sample(store.cases, 5)
    rows = [f"{chance.choice([c.case_id, c.source_image])},unclear" for c in left_out]
    excluded = read_excluded(table(tmp_path / "exclude.csv", "case,reason", *rows), store)
    out = tmp_path / "v1"
    report = audit(store, near=False)
    split = freeze(store, report, out, version="v1", secret=SECRET, excluded=excluded)
    names = {case.case_id for case in left_out}
    assert split.lock.excluded == dict.fromkeys(names, "unclear")
    assert {row.case_id for row in split.rows} == {c.case_id for c in store.cases} - names
    assert not verify(out, store, secret=SECRET)
    assert not reveal(split, store, SECRET).cases.keys() & names
    to = Recipients(keys.images.recipient, keys.labels.recipient)
    bundles = seal(store, split, to, out=tmp_path / "bundles")
    assert bundles.training.cases + bundles.sealed.cases == len(store.cases) - 5
    with pytest.raises(BusbenchError) as changed:
        freeze(store, report, out, version="v1", secret=SECRET)
    assert changed.value.code == "split-frozen" and "excluded" in changed.value.message


def test_no_group_falls_apart_because_its_middle_is_left_out(
    store: CaseStore, tmp_path: Path
) -> None:
    for number in range(0, 30, 3):
        one, middle, other = (case.case_id for case in store.cases[number : number + 3])
        rows = (f"{one},{middle}", f"{middle},{other}")
        pairs = read_pairs(table(tmp_path / "pairs.csv", "first,second", *rows), store)
        split = freeze(
            *(store, audit(store, near=False), tmp_path / f"v{number}"),
            version="v1",
            secret=SECRET,
            pairs=pairs,
            excluded={middle: "unclear"},
        )
        group = {row.case_id: row.patient_group for row in split.rows}
        assert group[one] == group[other] and middle not in group


@pytest.mark.parametrize(
    "head, rows, tells",
    [
        ("first,second", ["case_001-l,nobody"], "'nobody', which is no case"),
        ("first,second", ["case_001-l,case_001-l"], "with itself"),
        ("first,second,kind", ["case_001-l,case_001-r,alike"], "kind of pair 'alike'"),
        ("first,third", ["case_001-l,case_001-r"], "no column second"),
        ("first,second,patient", ["case_001-l,case_001-r,p"], "unknown column 'patient'"),
        ("case,reason", ["nobody,unclear"], "'nobody', which is no case"),
        ("case,reason", ["case_001-l,"], "no reason"),
        ("case,reason", ["case_001-l,a", "case_001-l,b"], "twice"),
        ("case", ["case_001-l"], "no column reason"),
    ],
)
def test_a_table_that_names_something_else_is_refused(
    store: CaseStore, tmp_path: Path, head: str, rows: list[str], tells: str
) -> None:
    path = table(tmp_path / "table.csv", head, *rows)
    option = "--exclude" if head.startswith("case") else "--pairs"
    command = ["freeze", str(store.path), "--out", str(tmp_path / "v1"), option, str(path)]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, BusbenchError) and tells in error.message
    assert error.code in ("split-invalid", "raw-missing") and not (tmp_path / "v1").exists()


def audited(store: CaseStore, *words: object) -> Result:
    command = ["audit", store.path, "--no-near", "--json", *words]
    return CliRunner().invoke(app, [*map(str, command)])


@pytest.mark.parametrize("seed", range(4))
def test_no_known_pair_is_missed_by_the_verdict_on_a_split(
    store: CaseStore, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    part = {case.case_id: chance.choice(["train", "test"]) for case in store.cases}
    split = table(tmp_path / "split.csv", "case_id,part", *(f"{c},{p}" for c, p in part.items()))
    linked = [chance.sample(store.cases, 2) for _ in range(9)]
    rows = [",".join(chance.choice(names_of(case)) for case in pair) for pair in linked]
    known = table(tmp_path / "pairs.csv", "first,second", *rows)
    left_out = {case.case_id for case in chance.sample(store.cases, 6)}
    wrong = table(tmp_path / "exclude.csv", "case,reason", *(f"{c},unclear" for c in left_out))
    kept = [c for c in part if c not in left_out]
    ends = [{one.case_id, other.case_id} for one, other in linked]
    ends += [{pair.first, pair.second} for pair in audit(store, near=False).pairs]
    apart = [two for two in ends if len({part[case_id] for case_id in two}) == 2]
    leaking = set[str]().union(*(two for two in apart if not two & left_out))
    stated = ("--pairs", known, "--exclude", wrong)
    found = json.loads(audited(store, "--split", split, *stated).stdout)
    assert set(found["verdicts"]["test"]["cases"]) == {c for c in leaking if part[c] == "test"}
    assert found["verdicts"]["test"]["test"] == sum(part[c] == "test" for c in kept)
    assert found["cases"] == found["certificate"]["named"] == len(kept)
    assert found["excluded"] == dict.fromkeys(left_out, "unclear")
    assert found["certificate"]["excluded"] == len(left_out)
    drawn = json.loads(audited(store, "--policy", "patient", *stated).stdout)
    assert not drawn["certificate"]["leaks"]


def test_a_split_is_judged_with_what_it_was_frozen_with(store: CaseStore, tmp_path: Path) -> None:
    wrong = table(tmp_path / "exclude.csv", "case,reason", f"{store.cases[3].case_id},unclear")
    words = ("freeze", store.path, "--out", tmp_path / "v1", "--exclude", wrong)
    assert CliRunner().invoke(app, [*map(str, words)]).exit_code == 0
    error = audited(store, "--split", tmp_path / "v1").exception
    assert isinstance(error, BusbenchError) and "lacks 1 cases" in error.message
    out = ("--split", tmp_path / "v1", "--out", tmp_path / "audit")
    assert audited(store, *out, "--exclude", wrong).exit_code == 0
    assert "1 cases were left out on request" in (tmp_path / "audit/certificate.html").read_text()
    first, second, *_ = (case.case_id for case in store.cases)
    pairs = table(tmp_path / "pairs.csv", "first,second", f"{first},{second}")
    for other in (("--partial",), ("--exclude", wrong, "--pairs", pairs)):
        changed = audited(store, *out, *other).exception
        assert isinstance(changed, BusbenchError) and changed.code == "output-exists"


def test_no_image_is_named_by_a_hash_alone(store: CaseStore, tmp_path: Path) -> None:
    doubled = [dataclasses.replace(one, case_id=f"x{n}") for n, one in enumerate(samples()[:9])]
    other = write_store(tmp_path / "other", "phantom", doubled)
    split = table(
        tmp_path / "split.csv",
        "case_id,part",
        *(f"{c.case_id},{'test' if n % 2 else 'train'}" for n, c in enumerate(store.cases)),
    )
    known = [store.cases[1], store.cases[4]]
    pairs = table(tmp_path / "p.csv", "first,second", ",".join(c.case_id for c in known))
    for words in (
        (store.path, "--pairs", pairs, "--split", split),
        (store.path, other.path),
    ):
        done = CliRunner().invoke(app, ["audit", "--no-near", *map(str, words)])
        reported = [
            line for line in done.stdout.splitlines() if line.startswith(("pair:", "leak:"))
        ]
        assert reported and all(line.count("raw/image (") >= 1 for line in reported), done.output
        for case in known if split in words else ():
            assert any(f"{case.case_id} ({case.source_image})" in line for line in reported)


@pytest.mark.parametrize("option", ["--pairs", "--exclude"])
def test_no_table_of_one_store_is_taken_for_several(
    store: CaseStore, tmp_path: Path, option: str
) -> None:
    given = table(tmp_path / "table.csv", "first,second" if option == "--pairs" else "case,reason")
    error = audited(store, store.path, option, given).exception
    assert isinstance(error, BusbenchError) and error.code == "usage"


def test_no_image_with_two_truths_goes_unsaid(tmp_path: Path) -> None:
    """Every image is there again: in other classes, with another mask, and as it was."""
    made = without_patients()[6:]  # the first ones have twins among each other
    for number, one in enumerate(made[:9]):
        other = {
            0: {"label": "benign" if one.label != "benign" else "malignant"},
            1: {"mask": ~one.mask},
            2: {},
        }[number % 3]
        file = f"raw/again ({number}).png"
        made.append(
            dataclasses.replace(one, case_id=f"again_{number}", source_image=file, **other)  # type: ignore[arg-type]
        )
    doubled = write_store(tmp_path / "store", "phantom", made)
    first = ["freeze", str(doubled.path), "--out", str(tmp_path / "v1"), "--json"]
    done = CliRunner().invoke(app, first)
    said = " ".join(done.stderr.split())
    for number in range(9):
        assert (f"(raw/again ({number}).png)" in said) is (number % 3 != 2), number
    rows = FrozenSplit.open(tmp_path / "v1").rows
    test = {row.case_id for row in rows if row.part == "test"}
    twins = [{made[n].case_id, f"again_{n}"} for n in range(9) if n % 3 != 2]
    lock = json.loads(done.stdout)
    assert lock["contradicting"] == len(test & set().union(*twins))
    out_of_it = [f"{case_id},unclear" for twin in twins for case_id in sorted(twin)]
    exclude = table(tmp_path / "exclude.csv", "case,reason", *out_of_it)
    again = [*first[:2], "--out", str(tmp_path / "v2"), "--json", "--exclude", str(exclude)]
    done = CliRunner().invoke(app, again)
    assert json.loads(done.stdout)["contradicting"] == 0 and "two truths" not in done.stderr


def test_a_split_frozen_by_an_older_version_stays_as_it_is(
    store: CaseStore, tmp_path: Path
) -> None:
    out, report = tmp_path / "v1", audit(store, near=False)
    lock = freeze(store, report, out, version="v1", secret=SECRET).lock.document()
    for name in ("excluded", "stated_pairs", "contradicting", "field_digests", "digest"):
        del lock[name]
    old = complete_lock({**lock, "schema": "busbench/split-lock/v2"})
    (out / "lock.json").write_text(json.dumps(old.document()))
    (out / "croissant.json").unlink()  # which it did not write
    assert not verify(out, store)
    assert freeze(store, report, out, version="v1", secret=SECRET).lock == old
    excluded = {store.cases[0].case_id: "unclear"}
    with pytest.raises(BusbenchError):
        freeze(store, report, out, version="v1", secret=SECRET, excluded=excluded)
    assert table_bytes(FrozenSplit.open(out).rows) == (out / "split.csv").read_bytes()
