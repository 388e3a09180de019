"""`busbench verify` looks behind the signatures: splits, committed labels, the scoring itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evaluator.documents.base import write
from evaluator.errors import BusbenchError
from evaluator.files import sha256_file
from harness.audit import audit
from harness.cli import app
from harness.evaluation.review import Evidence, rescore, review_splits, scores_differ
from harness.ledger import append, sign, verify_ledger
from harness.ledger.report import Report
from harness.sandbox import ProcessRunner
from harness.sandbox.cached import Context
from harness.splits import FrozenSplit, Reveal, freeze, reveal
from harness.store import CaseStore
from tests.support.factories import make_report
from tests.support.samples import SECRET
from tests.support.small_challenge import Evaluated


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def reports_of(evaluated: Evaluated) -> dict[str, Report]:
    return {"entry 1": verify_ledger(evaluated.ledger).reports[0].report}


def test_a_true_ledger_passes_every_check(evaluated: Evaluated) -> None:
    root = evaluated.challenge.root
    result = run(
        *("verify", evaluated.ledger, "--key", root / "keys" / "report.pub", "--json"),
        *("--splits", root / "splits", "--store", root / "store"),
        *("--rescore", evaluated.runs, "--bundle", root / "bundles", "--keys", root / "keys"),
        *("--runner", "process"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["verdict"], found["rescored"], found["differences"]) == (
        "the ledger holds",
        1,
        [],
    )
    assert found["labels"] == "opened"


def test_a_lone_report_is_held_against_its_split_too(evaluated: Evaluated) -> None:
    key = evaluated.challenge.keys.path / "report.pub"
    splits = evaluated.challenge.root / "splits"
    assert run("verify", evaluated.report, "--key", key, "--splits", splits).exit_code == 0


def test_a_report_on_a_split_that_was_never_frozen_is_named(evaluated: Evaluated) -> None:
    reports = {"entry 7": make_report()}
    (difference,) = review_splits(reports, evaluated.challenge.root / "splits", Evidence())
    assert difference.startswith("entry 7: ") and "no split with the digest" in difference


def test_a_report_that_misnames_its_split_is_named(evaluated: Evaluated) -> None:
    report = verify_ledger(evaluated.ledger).reports[0].report
    reports = {"entry 1": report.model_copy(update={"split_version": "v2"})}
    (difference,) = review_splits(reports, evaluated.challenge.root / "splits", Evidence())
    assert "another dataset or version" in difference


def test_a_split_that_was_changed_is_named(evaluated: Evaluated, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(evaluated.challenge.root / "splits", tmp_path / "splits"))
    table = copy / "v1" / "split.csv"
    table.write_text(table.read_text().replace(",train,", ",test,", 1))
    assert review_splits(reports_of(evaluated), copy, Evidence())
    result = run("verify", evaluated.ledger, "--splits", copy)
    assert result.exit_code == 20
    assert "something differs" in result.stdout and "split.csv" in result.stdout


def test_labels_that_changed_after_the_freeze_are_named(evaluated: Evaluated) -> None:
    root = evaluated.challenge.root
    store = CaseStore.open(root / "store")
    reports = reports_of(evaluated)
    true = Evidence([store], secret=root / "splits" / "v1.secret")
    assert review_splits(reports, root / "splits", true) == []
    test = next(iter(FrozenSplit.open(root / "splits" / "v1").lock.commitments))
    changed = store.__class__(
        store.path,
        store.info,
        tuple(
            case.__class__(**{**case.__dict__, "mask_sha256": "0" * 64})
            if case.case_id == test
            else case
            for case in store.cases
        ),
    )
    found = review_splits(reports, root / "splits", Evidence([changed], secret=true.secret))
    assert any(test in difference and "committed to" in difference for difference in found)


def test_commitments_open_with_a_reveal_document_alone(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    root = evaluated.challenge.root
    split = FrozenSplit.open(root / "splits" / "v1")
    document = reveal(split, CaseStore.open(root / "store"), SECRET)
    write(document, tmp_path / "reveal.json")
    arguments = ("verify", evaluated.ledger, "--splits", root / "splits", "--reveal")
    assert run(*arguments, tmp_path / "reveal.json").exit_code == 0
    case_id = next(iter(document.cases))
    forged = document.document()
    forged["cases"][case_id]["mask_sha256"] = "0" * 64
    write(Reveal.model_validate(forged), tmp_path / "forged.json")
    result = run(*arguments, tmp_path / "forged.json")
    assert result.exit_code == 20 and case_id in result.stdout


def test_evidence_that_proves_nothing_is_not_passed_over(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    root = evaluated.challenge.root
    split = FrozenSplit.open(root / "splits" / "v1")
    document = reveal(split, CaseStore.open(root / "store"), SECRET)
    other = document.model_copy(update={"split_digest": "0" * 64})
    (difference,) = review_splits(
        reports_of(evaluated),
        root / "splits",
        Evidence(reveals=[other]),
    )
    assert "no report needs it" in difference


def test_no_labels_pass_for_opened_because_those_of_another_split_are(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    root, splits, keys = evaluated.challenge.root, tmp_path / "splits", evaluated.challenge.keys
    store = CaseStore.open(root / "store")
    shutil.copytree(root / "splits", splits)
    other = freeze(
        *(store, audit(store, near=False), splits / "v2"), version="v2", seed=7, secret=SECRET
    )
    report = reports_of(evaluated)["entry 1"]
    provenance = report.provenance.model_copy(update={"split_digest": other.lock.digest})
    changed = {"split_version": "v2", "method": "second", "provenance": provenance}
    for one in (report, report.model_copy(update=changed)):
        append(tmp_path / "ledger.jsonl", sign(one, keys), keys)
    write(reveal(FrozenSplit.open(splits / "v1"), store, SECRET), tmp_path / "reveal.json")
    words = ("verify", tmp_path / "ledger.jsonl", "--splits", splits, "--json", "--reveal")
    found = json.loads(run(*words, tmp_path / "reveal.json").stdout)
    assert found["labels"].startswith("opened for 1 of 2 reports")


def test_a_store_without_the_secret_does_not_pass_for_opened(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    root = evaluated.challenge.root
    with pytest.raises(BusbenchError) as caught:
        review_splits(
            reports_of(evaluated),
            root / "splits",
            Evidence([CaseStore.open(root / "store")], secret=tmp_path / "nowhere"),
        )
    assert caught.value.code == "keys-invalid"


def rescored(evaluated: Evaluated, runs: Path) -> list[str]:
    challenge = evaluated.challenge
    return rescore(
        reports_of(evaluated),
        runs,
        [(challenge.bundles, challenge.keys)],
        context=Context(ProcessRunner(), challenge.settings),
    )


def test_a_number_that_the_predictions_do_not_give_is_named(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    """The organiser signs a better Dice than the kept masks earn."""
    report = verify_ledger(evaluated.ledger).reports[0].report
    fields = report.document()
    fields["scores"]["groups"]["all"]["metrics"]["dice"]["mean"] += 1e-12
    forged = report.__class__.model_validate(fields)
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(forged, evaluated.challenge.keys), evaluated.challenge.keys)
    root = evaluated.challenge.root
    result = run(
        *("verify", ledger, "--rescore", evaluated.runs, "--bundle", root / "bundles"),
        *("--keys", root / "keys", "--runner", "process"),
    )
    assert result.exit_code == 20
    assert "groups.all.metrics.dice.mean was" in result.stdout


def test_masks_that_were_changed_after_the_scoring_are_named(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    runs = Path(shutil.copytree(evaluated.runs, tmp_path / "runs"))
    (bits,) = runs.glob("*/infer/fold-all.bits")
    data = bytearray(bits.read_bytes())
    data[: len(data) // 2] = bytes(255 - byte for byte in data[: len(data) // 2])
    bits.write_bytes(data)
    (difference,) = rescored(evaluated, runs)
    assert "fold-all.bits is not the file that was predicted" in difference
    document = json.loads((bits.parent / "predictions.json").read_bytes())
    document["masks"]["fold-all.bits"] = sha256_file(bits)  # repaired, so that they fit again
    (bits.parent / "predictions.json").write_text(json.dumps(document))
    (difference,) = rescored(evaluated, runs)
    assert "does not contain its predictions" in difference


def test_predictions_that_are_gone_do_not_pass_for_rescored(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    (difference,) = rescored(evaluated, tmp_path / "runs")
    assert "does not contain its predictions" in difference
    kept = next(evaluated.runs.glob("*/infer/predictions.json"))
    report = verify_ledger(evaluated.ledger).reports[0].report
    assert sha256_file(kept) == report.provenance.predictions_sha256


def test_every_number_that_differs_is_named_and_equal_scores_are_not() -> None:
    one, other = make_report(dice=0.8).scores, make_report(dice=0.81).scores
    assert list(scores_differ(one, one)) == []
    names = [line.split(" was ")[0] for line in scores_differ(one, other)]
    assert "groups.all.metrics.dice.mean" in names
    assert "groups.all.metrics.dice.folds.4" in names
    assert not any("hd95" in name for name in names)


def test_options_that_need_another_say_so(evaluated: Evaluated) -> None:
    for options in (
        ("--store", evaluated.challenge.root),
        ("--rescore", evaluated.runs),
        ("--splits", evaluated.challenge.root, "--secret", evaluated.ledger),
    ):
        error = run("verify", evaluated.ledger, *options).exception
        assert isinstance(error, BusbenchError) and error.code == "usage"
