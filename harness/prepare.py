"""From a raw folder to a case store: read, repair or refuse every case, then write.

All cases are looked at before a refusal ends the run, so that one run reports everything. The
record of a run, `prepare.json`, is in the store: the same raw files need no second run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

import harness
from evaluator.documents.base import CASE_BY_CASE, Contract, Digest, Name, read
from evaluator.documents.reading import Bounds
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes, sha256_file
from evaluator.progress import Progress, quiet
from harness.datasets import Adapter, RawCase, Refusal, Release, adapter
from harness.datasets.base import RefusedError
from harness.datasets.decode import decode
from harness.datasets.layout import files_below, is_litter
from harness.datasets.patients import require_one_spelling
from harness.datasets.repair import judge
from harness.folders import one_at_a_time, require_same
from harness.store import REMEDY, CaseStore, Sample, write_store

CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class RefusedCase(Contract):
    """One refusal, as the record keeps it."""

    code: str
    file: str
    message: str


class PrepareRecord(Contract):
    """`prepare.json`: what a store was made from, and what was left out of it."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/prepare/v1"] = Field(default="busbench/prepare/v1", alias="schema")
    dataset: Name
    busbench: str
    raw_sha256: Digest  # over names and bytes of all files in the raw folder
    strict: bool
    skip_refused: bool
    refused: tuple[RefusedCase, ...] = ()

    def differing(self, other: PrepareRecord) -> dict[str, bool]:
        """Whether each setting of another run differs, by its name on the command line."""
        return {
            "dataset": self.dataset != other.dataset,
            "content of --raw": self.raw_sha256 != other.raw_sha256,
            "--strict": self.strict != other.strict,
            "--skip-refused": self.skip_refused != other.skip_refused,
            "version of busbench": self.busbench != other.busbench,
        }


@dataclass(frozen=True)
class PrepareResult:
    """A prepared dataset."""

    store: CaseStore
    release: Release
    refused: tuple[RefusedCase, ...]
    resumed: bool  # nothing was done: the store was there already

    @property
    def repaired(self) -> dict[str, str]:
        """Case id -> what was repaired in it."""
        return {case.case_id: case.repairs for case in self.store.cases if case.repairs}


class CasesRefusedError(BusbenchError):
    """Raised at the end where cases were refused; `refused` names each, `repaired` the others."""

    def __init__(
        self,
        first: BusbenchError,
        refused: tuple[RefusedCase, ...],
        repaired: dict[str, str],
        *,
        cases: int,
    ) -> None:
        others = len(refused) - 1
        more = f" (and {others} more refused, of {cases} cases)" if others else ""
        super().__init__(first.code, first.message[:-1] + more + ".", first.remedy)
        self.refused, self.repaired = refused, repaired


def prepare(
    dataset: str,
    raw: Path,
    out: Path,
    *,
    strict: bool = False,
    skip_refused: bool = False,
    progress: Progress = quiet,
) -> PrepareResult:
    """Turn the raw folder of a dataset into a case store at `out`.

    Args:
        dataset: name of an adapter.
        raw: the release as unpacked; nested archive folders are tolerated.
        out: a new or empty folder, or the store of the same run, which is then kept.
        strict: refuse what would be repaired.
        skip_refused: leave refused cases out (the record names them) rather than fail.

    Raises:
        CasesRefusedError: where a case was refused, after all were looked at.
        BusbenchError: `raw-missing` for a folder without the layout, `output-exists` where `out`
            contains something else, or a store made with other settings; see also `whole_folder`.
    """
    chosen = adapter(dataset)
    record = PrepareRecord(
        dataset=chosen.name,
        busbench=harness.__version__,
        raw_sha256=folder_digest(raw, chosen),
        strict=strict,
        skip_refused=skip_refused,
    )
    with one_at_a_time(out):
        before = _earlier(out)
        if before is not None:
            require_same(out, before.differing(record))
            return PrepareResult(CaseStore.open(out), chosen.release, before.refused, resumed=True)
        run = _Run(chosen, raw, strict, skip=skip_refused, progress=progress)
        store = write_store(
            out,
            chosen.name,
            run.samples(),
            beside=lambda: {"prepare.json": record.model_copy(update={"refused": run.refused})},
        )
    return PrepareResult(store, chosen.release, run.refused, resumed=False)


def _earlier(out: Path) -> PrepareRecord | None:
    path = out / "prepare.json"
    return read(PrepareRecord, path, Code.STORE_INVALID, remedy=REMEDY) if path.is_file() else None


def folder_digest(raw: Path, chosen: Adapter) -> str:
    """SHA-256 over names and bytes of all files below `raw`, wherever it lies.

    Raises:
        BusbenchError: `raw-missing` where there is no file.
    """
    files = files_below(raw)
    names = sorted(p.relative_to(raw).as_posix() for p in files if not is_litter(p))
    if not names:
        raise BusbenchError(
            Code.RAW_MISSING,
            f"{raw} is missing or contains no file.",
            f"Get {chosen.title} ({chosen.release.download}) and name its folder with --raw.",
        )
    try:
        return sha256_bytes(canonical_json({name: sha256_file(raw / name) for name in names}))
    except OSError as error:
        message = f"{error.filename} cannot be read ({error.strerror})."
        raise BusbenchError(
            Code.RAW_MISSING, message, "Make it readable, then try again."
        ) from error


class _Run:
    """One pass over the raw cases; what is refused is collected on the way."""

    def __init__(
        self, chosen: Adapter, raw: Path, strict: bool, *, skip: bool, progress: Progress
    ) -> None:
        self._adapter, self._raw, self._strict, self._skip = chosen, raw, strict, skip
        self._progress = progress
        self._refusals: list[Refusal] = []
        self._repaired: dict[str, str] = {}

    @property
    def refused(self) -> tuple[RefusedCase, ...]:
        return tuple(
            RefusedCase(code=r.code, file=str(r.file), message=r.error().message)
            for r in self._refusals
        )

    def samples(self) -> Iterator[Sample]:
        """Yield each good case; at the end raise where bad ones were among them."""
        listed, what, seen = list(self._adapter.read(self._raw)), "prepare cases", set[str]()
        if not listed:
            message = f"{self._raw} contains no case of {self._adapter.title}."
            remedy = "Unpack the release there again, or add rows to your table."
            raise BusbenchError(Code.RAW_MISSING, message, remedy)
        require_one_spelling(self._raw, [c.patient for c in listed if isinstance(c, RawCase)])
        for done, case in enumerate(listed):
            self._progress(what, done, len(listed))
            try:
                sample = self._sample(case, seen)
            except RefusedError as refused:
                self._refusals.append(refused.refusal)
            else:
                if sample.repairs:
                    self._repaired[sample.case_id] = "; ".join(sample.repairs)
                yield sample
        self._progress(what, len(listed), len(listed))
        if self._refusals and (not self._skip or len(self._refusals) == len(listed)):
            first = self._refusals[0].error()
            raise CasesRefusedError(first, self.refused, self._repaired, cases=len(listed))

    def _sample(self, case: RawCase | Refusal, seen: set[str]) -> Sample:
        if isinstance(case, Refusal):
            raise RefusedError(case.code, case.file, case.reason, remedy=case.remedy)
        if not CASE_ID.fullmatch(case.case_id):
            reason = f"has the unusable case id {case.case_id!r}"
            raise RefusedError(Code.DATA_REFUSED, case.image, reason)
        if case.case_id.lower() in seen:  # some file systems know no case
            reason = f"is a second case with the id {case.case_id}"
            raise RefusedError(Code.DATA_REFUSED, case.image, reason)
        seen.add(case.case_id.lower())
        for path in (case.image, *case.masks):
            if (
                not path.is_relative_to(self._raw) or ".." in path.relative_to(self._raw).parts
            ):  # its digest would not be on record
                raise RefusedError(Code.DATA_REFUSED, path, "lies outside the raw folder")
        masks = tuple(decode(path) for path in case.masks)
        sample = judge(case, self._raw, decode(case.image), masks=masks)
        if self._strict and sample.repairs:
            remedy = "Correct the file, or run without --strict."
            reason = f"would have to be repaired: {'; '.join(sample.repairs)}"
            raise RefusedError(Code.DATA_REFUSED, case.image, reason, remedy=remedy)
        return sample
