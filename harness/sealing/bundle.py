"""From a frozen split to the two bundles.

    OUT/training/bundle.json  cases.csv  images/<id>.png  masks/<id>.png     public
                 CITATION     dataset.py
    OUT/sealed/bundle.json    images.age labels.age                          evaluator only

Each bundle is made beside its place and moved there in one step; `bundle.json` is written last.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.base import Name, read, write
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes, sha256_file, write_atomically
from evaluator.progress import Progress, quiet
from evaluator.sealed import seal_archive
from harness.challenge import LabelAccess, StageLimits
from harness.export.citation import citation, release_of
from harness.folders import let_all_read, require_same, whole_folder
from harness.sealing.documents import SealedBundle, Source, TrainingBundle
from harness.splits import FrozenSplit, require_store
from harness.splits.lock import SplitLock
from harness.store import CaseStore
from harness.template import HELPER

REMEDY = "Seal the split again with `busbench seal` into a new folder."


@dataclass(frozen=True)
class Bundles:
    """Where the two bundles of one split lie, and what they say of themselves."""

    path: Path
    training: TrainingBundle
    sealed: SealedBundle

    @classmethod
    def open(cls, path: Path) -> Bundles:
        """Open both bundles and check the sealed files' digests.

        Raises:
            BusbenchError: `bundle-invalid` where something is missing or was changed.
        """
        training = read(
            TrainingBundle, path / "training" / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY
        )
        sealed = read(
            SealedBundle, path / "sealed" / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY
        )
        bundles = cls(path, training, sealed)
        for file, digest in (
            (bundles.images, sealed.images_sha256),
            (bundles.labels, sealed.labels_sha256),
        ):
            if not file.is_file() or sha256_file(file) != digest:
                raise BusbenchError(
                    Code.BUNDLE_INVALID, f"{file} is missing or was changed after sealing.", REMEDY
                )
        return bundles

    @property
    def images(self) -> Path:
        """The sealed test images."""
        return self.path / "sealed" / "images.age"

    @property
    def labels(self) -> Path:
        """The sealed test labels."""
        return self.path / "sealed" / "labels.age"


@dataclass(frozen=True)
class Recipients:
    """The public halves of the two age keys."""

    images: str
    labels: str


def seal(
    store: CaseStore,
    split: FrozenSplit,
    recipients: Recipients,
    *,
    out: Path,
    track: Name | None = None,
    labels: LabelAccess = "public",
    consistency: bool = True,
    limits: StageLimits = StageLimits(),  # noqa: B008 - frozen
    progress: Progress = quiet,
) -> Bundles:
    """Write the training bundle and the sealed bundle of a frozen split.

    A bundle that is there already, of this split, to these keys and with these settings, is kept;
    the training bundle's words on limits become those of now.
    Every image and mask that is put into one is decoded before and compared with what was frozen.

    Args:
        track: the track that both are for; null: it is called as its dataset.
        labels: whether the test labels can be found in public; the board shows it.
        consistency: whether submissions are also run on transformed test images. The seed is drawn
            here and is in the two sealed archives alone. So are the order of the cases, in which
            models see them, and the seed of those that are run again.
        limits: those of inference and of a submission's files are in the training bundle, for
            participants to read.

    Raises:
        BusbenchError: `split-invalid` where the store is not the one that was frozen,
            `store-invalid` where an image or a mask is not the table's, `output-exists` where
            `out` holds bundles made with other settings.
    """
    require_store(split, store)
    track = track or split.lock.dataset
    training, sealed = out / "training", out / "sealed"
    made = [folder for folder in (training, sealed) if (folder / "bundle.json").exists()]
    if training in made:
        first = read(TrainingBundle, training / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY)
        require_same(
            training,
            {"--split": first.split_digest != split.lock.digest, "--track": first.track != track},
        )
        stated = first.model_copy(update={"infer": limits.infer, "model": limits.model})
        if stated != first:
            write(stated, training / "bundle.json")
            let_all_read(training)
    if sealed in made:
        other = read(SealedBundle, sealed / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY)
        require_same(
            sealed,
            _differing(
                other,
                split.lock,
                recipients,
                track=track,
                labels=labels,
                consistency=consistency,
            ),
        )
    if training not in made:
        with whole_folder(training, last="bundle.json") as folder:
            _write_training(folder, store, split, track=track, limits=limits, progress=progress)
            let_all_read(folder)
    if sealed not in made:
        with whole_folder(sealed, last="bundle.json") as folder:
            write_sealed(
                folder,
                store,
                split,
                recipients=recipients,
                track=track,
                labels=labels,
                consistency=consistency,
            )
            let_all_read(folder)
    return Bundles.open(out)


def _differing(
    bundle: SealedBundle,
    lock: SplitLock,
    recipients: Recipients,
    *,
    track: str,
    labels: str,
    consistency: bool,
) -> dict[str, bool]:
    """Whether a sealed bundle was made with another setting, by its name on the command line."""
    found = (bundle.image_recipient, bundle.label_recipient)
    return {
        "--split": bundle.split_digest != lock.digest,
        "--track": bundle.track != track,
        "--keys": found != (recipients.images, recipients.labels),
        "--private-labels": bundle.labels != labels,
        "--consistency": bundle.consistency != consistency,
    }


def _write_training(
    folder: Path,
    store: CaseStore,
    split: FrozenSplit,
    *,
    track: Name,
    limits: StageLimits,
    progress: Progress,
) -> None:
    by_id = {case.case_id: case for case in store.cases}
    rows = [row for row in split.rows if row.part == "train"]
    records = []
    for done, row in enumerate(rows, start=1):
        case = by_id[row.case_id]
        write_atomically(folder / "images" / f"{case.case_id}.png", store.image_file(case))
        write_atomically(folder / "masks" / f"{case.case_id}.png", store.mask_file(case))
        records.append(
            {
                "case_id": case.case_id,
                "fold": row.fold,
                "class": case.label,
                "patient_group": row.patient_group,
                "height": case.height,
                "width": case.width,
                "spacing_row_mm": case.spacing_row_mm,
                "spacing_col_mm": case.spacing_col_mm,
                "image_sha256": case.image_sha256,
                "mask_sha256": case.mask_sha256,
            }
        )
        progress("training bundle", done, len(rows))
    import pandas as pd  # noqa: PLC0415  takes a second to import

    table = pd.DataFrame(records).to_csv(index=False, lineterminator="\n").encode()
    write_atomically(folder / "cases.csv", table)
    lock = split.lock
    text = citation(lock, (by_id[row.case_id] for row in rows))
    write_atomically(folder / "CITATION", text.encode())
    write_atomically(folder / HELPER.name, HELPER.read_bytes())
    release = release_of(lock.dataset)
    bundle = TrainingBundle(
        dataset=lock.dataset,
        track=track,
        split_version=lock.version,
        split_digest=lock.digest,
        folds=lock.folds,
        cases=len(records),
        cases_sha256=sha256_bytes(table),
        test_cases=sum(row.part == "test" for row in split.rows),
        infer=limits.infer,
        source=Source(cite=release.paper, release=release.download, terms=release.terms),
        model=limits.model,
    )
    write(bundle, folder / "bundle.json")


def write_sealed(
    folder: Path,
    store: CaseStore,
    split: FrozenSplit,
    *,
    recipients: Recipients,
    track: Name,
    labels: LabelAccess,
    consistency: bool,
) -> None:
    """Write the sealed bundle of a frozen split's test part, from the store it was frozen from."""
    lock = split.lock
    seed = secrets.token_hex(32) if consistency else None
    rows = [row for row in split.rows if row.part == "test"]
    secrets.SystemRandom().shuffle(rows)  # or who knows a case's place could prepare for it
    by_id = {case.case_id: case for case in store.cases}
    cases = [by_id[row.case_id] for row in rows]
    blind = [
        SealedCase(
            case_id=case.case_id,
            height=case.height,
            width=case.width,
            file=f"{n:06d}.grey",
            spacing_mm=case.spacing,  # networks may be declared for images of one spacing
        )
        for n, case in enumerate(cases)
    ]
    labelled = [
        replace(
            sealed,
            file=f"{n:06d}.png",
            label=case.label,
            device=case.device,
            patient_group=row.patient_group,
        )
        for n, (sealed, case, row) in enumerate(zip(blind, cases, rows, strict=True))
    ]
    index = SealedIndex(split_digest=lock.digest, consistency_seed=seed, cases=tuple(labelled))
    seen = {"repeat_seed": secrets.token_hex(32), "cases": tuple(blind)}
    images = seal_archive(
        index.model_copy(update=seen),
        (store.checked_image(case).tobytes() for case in cases),
        recipients.images,
    )
    masks = seal_archive(
        index,
        map(store.labels_file, cases),
        recipients.labels,
    )
    write_atomically(folder / "images.age", images)
    write_atomically(folder / "labels.age", masks)
    bundle = SealedBundle(
        dataset=lock.dataset,
        track=track,
        split_version=lock.version,
        split_digest=lock.digest,
        labels=labels,
        folds=lock.folds,
        cases=len(cases),
        images_sha256=sha256_bytes(images),
        labels_sha256=sha256_bytes(masks),
        consistency=consistency,
        image_recipient=recipients.images,
        label_recipient=recipients.labels,
    )
    write(bundle, folder / "bundle.json")
