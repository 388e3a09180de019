"""JSON Schemas of what verbs print with `--json`, and the page that lists them.

A document that a verb prints as it is has the schema of its model; the rest is declared here. Tests
validate whatever a verb prints while they run.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from evaluator.documents.inference import GateVerdict
from evaluator.documents.scores import Scores
from evaluator.documents.submission import ImageSubmission, Submission
from evaluator.errors import Code
from harness.audit.across import CrossAudit
from harness.audit.certificate import LeakCertificate
from harness.audit.report import AuditReport
from harness.audit.verdict import Verdict
from harness.benchmark.table import TrackTable
from harness.challenge import Phase, StageLimits, Track
from harness.datasets.fetching import Fetched
from harness.evaluation.predict_record import PredictRecord
from harness.export.exporting import SplitExport
from harness.ledger.report import Report
from harness.prepare import RefusedCase
from harness.proposal import Proposal
from harness.quotas.policy import Feedback
from harness.ranking.board import Board
from harness.sealing.documents import SealedBundle, TrainingBundle
from harness.splits.lock import SplitLock
from harness.store import StoreInfo

FORBID = ConfigDict(extra="forbid")
Fault = Literal["usage", "submission", "organiser", "infrastructure"]
JsonSchema = dict[str, Any]


def _closed(title: str, /, **fields: Any) -> Any:
    """A dictionary with these keys and no other."""
    made = TypedDict(title, fields)  # type: ignore[operator]
    made.__pydantic_config__ = FORBID
    return made


Failed = _closed("Failed", job=str, code=Code, fault=Fault, message=str, remedy=str)
Error = _closed("Error", code=Code, fault=Fault, message=str, remedy=str)
Finding = _closed(
    "Finding", name=str, level=Literal["ok", "warn", "fail"], says=str, remedy=str, fault=Fault
)
Meaning = _closed("Meaning", fault=Fault, status=int, meaning=str)
Side = _closed("Side", entry=int, method=str)
Compared = _closed(
    "Compared",
    first=float,
    second=float,
    difference=float,
    interval=tuple[float, float] | None,
    p=float,
    better=int,
    worse=int,
    equal=int,
)
Trained = _closed("Trained", folder=str, submission=Submission)
Validated = _closed(
    "Validated",
    folder=str,
    submission=Submission | ImageSubmission,
    scores=Scores,
    mean_of_cases=dict[str, float | None],
    hints=tuple[str, ...],
    stage_seconds=dict[str, float],
)
HandedOut = _closed("HandedOut", folder=str, feedback=Feedback)
Listed = _closed("Listed", number=int, recorded=str, digest=str, kind=str, about=str)
Finalist = _closed(
    "Finalist",
    track=str,
    team=str,
    method=str,
    why=Literal["entered", "chosen", "best"],
    submission_sha256=str,
    run=str | None,
)
Entered = _closed("Entered", entry=int, new=bool, folder=str, report=Report)
LINE_UP: dict[str, Any] = {
    "phase": str,
    "finalists": tuple[Finalist, ...],
    "left_out": tuple[str, ...],
}
Forecast = _closed(
    "Forecast",
    latency_ms=float,
    cases=int,
    models=int,
    windows=int | None,
    limit_seconds=int,
    cpus=float,
    device_name=str,
    seconds=float,
    fits=bool,
)
TriedImage = _closed("TriedImage", name=str, height=int, width=int, lesion_px=int)
Trial = _closed(
    "Trial",
    images=tuple[TriedImage, ...],
    seconds=float,
    host_memory_mb=int | None,
    test_images=int | None,
    limit_seconds=int,
    limit_memory_mb=int,
    most_seconds=float | None,
)
Changed = _closed(
    "Changed",
    entry=int,
    team=str,
    method=str,
    track=str,
    metric_profile=tuple[str, str],
    status=tuple[str, str],
    means=dict[str, tuple[float, float]],
    ranks=tuple[int | None, int | None],
)
Ranked = _closed("Ranked", track=str, split_version=str, state=str)
Recorded = _closed(
    "Recorded",
    entry=int | None,
    digest=str | None,
    answers=int,
    rankings=tuple[Ranked, ...],
    unranked=str | None,
)
Stated = _closed("Stated", classes=dict[str, int], patients=int | None)
LEDGER_FACTS: dict[str, Any] = {
    "verdict": str,
    "reports": int,
    "retractions": int,
    "rescorings": int,
    "pending": NotRequired[int],
    "rotations": int,
    "head": str,
    "recorded": str,
    "key": str,
    "pinned": bool,
    "trust": str,
    "witnessed": NotRequired[str],
}
REPORT_FACTS: dict[str, Any] = {
    **dict.fromkeys(("verdict", "method", "team", "track", "status", "key"), str)
}
LOOKED_AT: dict[str, Any] = {
    "splits": NotRequired[str],
    "labels": NotRequired[str],
    "rescored": NotRequired[int],
    "differences": tuple[str, ...],
}


def _of(*kinds: Any) -> JsonSchema:
    """The schema of a document, or of any of several."""
    kind = kinds[0]
    for other in kinds[1:]:
        kind |= other
    return TypeAdapter(kind).json_schema(by_alias=True)


def _more(schema: JsonSchema, without: tuple[str, ...] = (), **fields: Any) -> JsonSchema:
    """A document's schema with more keys beside its own."""
    added = TypeAdapter(_closed("Added", **fields)).json_schema(by_alias=True)
    own = {name: each for name, each in schema["properties"].items() if name not in without}
    needed = [*schema.get("required", ()), *added.get("required", ())]
    return {
        **schema,
        "$defs": {**schema.get("$defs", {}), **added.get("$defs", {})},
        "properties": {**own, **added["properties"]},
        "required": [name for name in needed if name not in without],
    }


def _either(*schemas: JsonSchema) -> JsonSchema:
    defs: dict[str, Any] = {}
    for each in schemas:
        defs |= each.get("$defs", {})
    parts = [{k: v for k, v in each.items() if k != "$defs"} for each in schemas]
    return {"$defs": defs, "anyOf": parts}


def _audit() -> JsonSchema:
    certificate = _of(LeakCertificate)
    certificate["properties"].pop("verdicts")
    certificate["required"].remove("verdicts")
    one = _more(_of(AuditReport), verdicts=dict[str, Verdict], certificate=dict[str, Any] | None)
    defs = certificate.pop("$defs", {})
    one["$defs"] |= {**defs, "LeakCertificate": certificate}
    one["properties"]["certificate"] = {
        "anyOf": [{"$ref": "#/$defs/LeakCertificate"}, {"type": "null"}]
    }
    return _either(one, _of(CrossAudit))


def _evaluate() -> JsonSchema:
    """Reports, and seconds of their stages; a final part's, kept until its end, has no scores."""
    schema = _either(
        _of(
            _closed(
                "Evaluated",
                reports=tuple[Report, ...],
                stage_seconds=tuple[dict[str, float], ...],
                failed=tuple[Failed, ...],
            )
        ),
        _of(_closed("Validations", validations=tuple[Validated, ...], failed=tuple[Failed, ...])),
    )
    schema["$defs"]["Report"]["required"].remove("scores")
    return schema


SCHEMAS: dict[str, JsonSchema] = {
    "audit": _audit(),
    "benchmark": _of(
        _closed(
            "Benchmark",
            done=int,
            failed=tuple[Failed, ...],
            skipped=int,
            tracks=tuple[TrackTable, ...],
        )
    ),
    "check": _more(_of(GateVerdict), forecast=Forecast | None, trial=Trial | None),
    "compare": _of(
        _closed(
            "Comparison",
            first=Side,
            second=Side,
            cases=int,
            patients=int,
            metrics=dict[str, Compared],
        )
    ),
    "doctor": _of(_closed("Findings", findings=tuple[Finding, ...], status=int)),
    "errors": _of(dict[str, Meaning]),
    "evaluate": _evaluate(),
    "export-split": _of(SplitExport),
    "feedback": _of(_closed("HandedOutAll", feedback=tuple[HandedOut, ...])),
    "fetch": _either(
        _of(_closed("Download", dataset=str, release=str, fetched=Fetched)),
        _of(_closed("OnRequest", dataset=str, fetched=None, how=str)),
    ),
    "finalise": _either(
        _of(_closed("LineUp", **LINE_UP, missing=tuple[str, ...])),
        _of(_closed("Final", **LINE_UP, failed=tuple[Failed, ...], recorded=tuple[Entered, ...])),
    ),
    "freeze": _of(SplitLock),
    "import-nnunet": _of(Submission),
    "ledger entries": _of(tuple[Listed, ...]),
    "limits": _of(
        _closed("InForce", limits=StageLimits, tracks=dict[str, Track], phases=tuple[Phase, ...])
    ),
    "predict": _more(_of(PredictRecord), folder=str, resumed=bool, passed_over=tuple[str, ...]),
    "prepare": _of(
        _closed(
            "Prepared",
            store=str,
            resumed=bool,
            found=StoreInfo,
            stated=Stated,
            repaired=dict[str, str],
            refused=tuple[RefusedCase, ...],
        )
    ),
    "propose": _of(_closed("Proposed", manifest=str, proposal=Proposal)),
    "rank": _of(Board),
    "reproduce": _either(
        _of(_closed("Needed", entry=int, needed=dict[str, str])),
        _of(
            _closed(
                "Reproduced",
                entry=int,
                compared=int,
                scores=Scores,
                differences=tuple[str, ...],
                left_out=tuple[str, ...],
            )
        ),
    ),
    "rescore": _of(
        _closed(
            "Rescored",
            changes=tuple[Changed, ...],
            left=tuple[int, ...],
            failed=tuple[Failed, ...],
            recorded=Recorded | None,
        )
    ),
    "seal": _of(
        _closed(
            "Sealed",
            training=TrainingBundle,
            sealed=SealedBundle,
            final=NotRequired[SealedBundle],
        )
    ),
    "splits verify": _of(
        _closed("SplitVerdict", split=str, holds=bool, differences=tuple[str, ...])
    ),
    "train": _of(_closed("Training", trained=tuple[Trained, ...], failed=tuple[Failed, ...])),
    "verify": _either(
        _of(_closed("LedgerVerdict", **LEDGER_FACTS, **LOOKED_AT)),
        _of(_closed("ReportVerdict", **REPORT_FACTS, **LOOKED_AT)),
    ),
}

# Instead of any of them, where a verb could not begin or go on.
ERROR: JsonSchema = _of(_closed("Failure", error=Error))
PAGE = """# JSON output

With `--json` a verb prints one JSON document on standard output; what people read goes to standard
error. The document has the keys of its schema and no other: a test validates whatever the verbs
print. A key that the schema does not require is there with the option that fills it. Numbers are
not rounded, but for those of the board, which have five digits (from 1 on, after the point). What
cannot be done at all prints an [error](schemas/output-error.json) instead; its `code` is one of the
[error codes](errors.md), and its group is the exit status. Verbs that do many things (`evaluate`,
`train`, `benchmark`) list what failed in `failed`, beside what was done.

| verb | schema | what it prints |
| --- | --- | --- |
{rows}

A document that is a file, too, such as the board of `rank`, is described under [file
formats](formats.md).
"""
WHAT = {
    "audit": "the audit of one store, with verdicts and the certificate of a split; of several "
    "stores, what they share",
    "benchmark": "how many jobs were done, which failed, and every report by track",
    "check": "the gate's verdict; the forecast, or the trial of an image",
    "compare": "both submissions by metric: means, interval, p, and how many cases each wins",
    "doctor": "every finding, and the exit status",
    "errors": "every code: fault, exit status, meaning",
    "evaluate": "the reports; with `--part val`, the validations",
    "export-split": "the record of the export",
    "feedback": "each folder that was written, and the feedback in it",
    "fetch": "the files and their digests; or how to ask for a dataset",
    "finalise": "who enters and who is left out; then what was recorded",
    "freeze": "the split's lock",
    "import-nnunet": "the submission that was written",
    "ledger entries": "a row for each entry",
    "limits": "the limits, tracks and phases of challenge.yaml in force",
    "predict": "the record of the masks",
    "prepare": "what was found, what the release states, what was repaired or refused",
    "propose": "the manifest, and where it was written",
    "rank": "the board",
    "reproduce": "the files that are needed; or the scores, and what differs",
    "rescore": "each result before and after, and what was recorded",
    "seal": "the description of each bundle",
    "splits verify": "what differs from the lock",
    "train": "each submission, and where it is",
    "verify": "what was checked, and what differs",
}


def json_page() -> str:
    """The list of verbs and schemas."""
    rows = [
        f"| [`{name}`](cli.md#{name.replace(' ', '-')}) | [schema](schemas/{schema_file(name)}) "
        f"| {WHAT[name]} |"
        for name in SCHEMAS
    ]
    return PAGE.replace("{rows}", "\n".join(rows))


def schema_file(verb: str) -> str:
    """The file in docs/schemas of what a verb prints."""
    return f"output-{verb.replace(' ', '-')}.json"
