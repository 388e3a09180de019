"""From a frozen split to its bundles.

    OUT/training/bundle.json  cases.csv  images/<id>.png  masks/<id>.png     public
                 CITATION     dataset.py
    OUT/sealed/bundle.json    images.age labels.age                          evaluator only
    OUT/final/bundle.json     images.age labels.age    of the final part, to keys of its own

Each bundle is made beside its place and moved there in one step; `bundle.json` is written last.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.base import MAX_CASES, Name, read, write
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes, sha256_file, write_atomically
from evaluator.progress import Progress, quiet
from evaluator.sealed import seal_archive
from harness.challenge import HiddenPart, LabelAccess, StageLimits
from harness.folders import let_all_read, require_same, whole_folder
from harness.sealing.documents import SealedBundle, TrainingBundle
from harness.sealing.keys import Keys
from harness.sealing.training import write_training
from harness.splits import FrozenSplit, require_store
from harness.splits.lock import SplitLock
from harness.store import CaseStore

WINDOWS = 4  # of each case in the consistency pass, where nobody says otherwise
REMEDY = "Seal the split again with `busbench seal` into a new folder."
FOLDERS: dict[HiddenPart, str] = {"test": "sealed", "final": "final"}


@dataclass(frozen=True)
class Bundles:
    """Where the bundles of one split lie, and what two of them say of themselves."""

    path: Path
    training: TrainingBundle
    sealed: SealedBundle  # of one hidden part

    @classmethod
    def open(cls, path: Path, part: HiddenPart = "test") -> Bundles:
        """Open the training bundle and that of a hidden part, and check the sealed files' digests.

        Raises:
            BusbenchError: `bundle-invalid` where something is missing or was changed.
        """
        training = read(
            TrainingBundle, path / "training" / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY
        )
        place = path / FOLDERS[part]
        if part == "final" and not place.is_dir():
            message = f"{path} has no final part: the split was frozen without --final."
            remedy = "Freeze a new version with --final, or let the phase score the part test."
            raise BusbenchError(Code.BUNDLE_INVALID, message, remedy)
        sealed = read(SealedBundle, place / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY)
        if sealed.part != part:
            message = f"{place} contains the part {sealed.part}."
            raise BusbenchError(Code.BUNDLE_INVALID, message, REMEDY)
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
        """The sealed images."""
        return self.path / FOLDERS[self.sealed.part] / "images.age"

    @property
    def labels(self) -> Path:
        """The sealed labels."""
        return self.path / FOLDERS[self.sealed.part] / "labels.age"


@dataclass(frozen=True)
class Recipients:
    """The public halves of the two age keys."""

    images: str
    labels: str


def open_each(
    paths: Iterable[Path], keys: Path, final_keys: Path | None = None
) -> list[tuple[Bundles, Keys]]:
    """The bundles of the hidden parts that there are keys of, each with its keys.

    Args:
        paths: folders of bundles; not each has a final part.

    Raises:
        BusbenchError: `bundle-invalid`, `keys-invalid`; `usage` where there are keys of a final
            part, and no final part.
    """
    parts: dict[HiddenPart, Keys] = {"test": Keys.open(keys)}
    if final_keys is not None:
        parts["final"] = Keys.open(final_keys)
    found = [
        (Bundles.open(path, part), its)
        for path in paths
        for part, its in parts.items()
        if part == "test" or (path / FOLDERS[part]).is_dir()
    ]
    if final_keys is not None and all(bundles.sealed.part == "test" for bundles, _ in found):
        message = "--final-keys would have no effect here: no bundle has a final part."
        raise BusbenchError(Code.USAGE, message, "Name one with --bundle, or leave it out.")
    return found


def seal(
    store: CaseStore,
    split: FrozenSplit,
    recipients: Recipients,
    *,
    out: Path,
    final: Recipients | None = None,
    track: Name | None = None,
    labels: LabelAccess = "public",
    windows: int | None = None,
    limits: StageLimits = StageLimits(),  # noqa: B008 - frozen
    progress: Progress = quiet,
) -> Bundles:
    """Write the training bundle of a frozen split, and a sealed bundle of each hidden part.

    A bundle that is there already, of this split, to these keys and with these settings, is kept;
    the training bundle's words on limits and windows become those of now.
    Every image and mask that is put into one is decoded before and compared with what was frozen.

    Args:
        final: those of the final part, where the split has one: keys that open the test part never
            open it.
        track: the track that all are for; null: it is called as its dataset.
        labels: whether the test labels can be found in public; the board shows it.
        windows: of each test image in the consistency pass, in which submissions are also run on
            transformed images; 0: without that pass; null: `WINDOWS`, or as many as a bundle that
            is there already has. The seed is drawn here and is in the two sealed archives alone. So
            are the order of the cases, in which models see them, and the seed of those that are run
            again.
        limits: those of inference and of a submission's files are in the training bundle, for
            participants to read.

    Raises:
        BusbenchError: `split-invalid` where the store is not the one that was frozen, `usage` where
            keys of a final part are missing or have nothing to seal, `keys-invalid` where a key is
            to open both parts,
            `store-invalid` where an image or a mask is not the table's, `output-exists` where
            `out` holds bundles made with other settings.
    """
    require_store(split, store)
    track = track or split.lock.dataset
    to = _recipients(split, recipients, final)
    training = out / "training"
    if is_made := (training / "bundle.json").exists():
        first = read(TrainingBundle, training / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY)
        require_same(
            training,
            {"--split": first.split_digest != split.lock.digest, "--track": first.track != track},
        )
    said = {"track": track, "labels": labels, "windows": windows}
    places = {part: out / FOLDERS[part] / "bundle.json" for part in to}
    before = {
        part: read(SealedBundle, place, Code.BUNDLE_INVALID, remedy=REMEDY)
        for part, place in places.items()
        if place.exists()
    }
    for part, other in before.items():
        require_same(places[part].parent, _differing(other, split.lock, to[part], said=said))
        windows = other.windows if windows is None else windows
    drawn = WINDOWS if windows is None else windows
    if is_made:
        _restate(training, first, limits=limits, windows=drawn)
    else:
        with whole_folder(training, last="bundle.json") as folder:
            write_training(
                folder, store, split, track=track, windows=drawn, limits=limits, progress=progress
            )
            let_all_read(folder)
    for part in [part for part in to if part not in before]:
        with whole_folder(places[part].parent, last="bundle.json") as folder:
            write_sealed(
                folder,
                store,
                split,
                part=part,
                recipients=to[part],
                track=track,
                labels=labels,
                windows=drawn,
            )
            let_all_read(folder)
    return Bundles.open(out)


def _restate(training: Path, bundle: TrainingBundle, *, limits: StageLimits, windows: int) -> None:
    """Bring what a training bundle says of limits and windows up to date."""
    stated = TrainingBundle(
        **bundle.model_dump(exclude={"schema_", "infer", "model", "windows"}),
        infer=limits.infer,
        model=limits.model,
        windows=windows,
    )
    if stated != bundle:
        write(stated, training / "bundle.json")
        let_all_read(training)


def _recipients(
    split: FrozenSplit, test: Recipients, final: Recipients | None
) -> dict[HiddenPart, Recipients]:
    """To whom each hidden part is sealed."""
    if (final is not None) != ("final" in split.lock.hidden_parts):
        has = "has no final part" if final else "has a final part, which takes keys of its own"
        remedy = (
            "Leave --final-keys out, or freeze a new version with --final."
            if final
            else "Make them with `busbench keys final KEYS --out FOLDER`, and name --final-keys."
        )
        raise BusbenchError(Code.USAGE, f"{split.path} {has}.", remedy)
    if final is None:
        return {"test": test}
    if {test.images, test.labels} & {final.images, final.labels}:
        message = "A key of the test part would open the final part, too."
        remedy = "Make other keys with `busbench keys final KEYS --out FOLDER`."
        raise BusbenchError(Code.KEYS_INVALID, message, remedy)
    return {"test": test, "final": final}


def _differing(
    bundle: SealedBundle, lock: SplitLock, recipients: Recipients, *, said: Mapping[str, object]
) -> dict[str, bool]:
    """Whether a sealed bundle was made with another setting, by its name on the command line."""
    found = (bundle.image_recipient, bundle.label_recipient)
    keys = "--keys" if bundle.part == "test" else "--final-keys"
    return {
        "--split": bundle.split_digest != lock.digest,
        "--track": bundle.track != said["track"],
        keys: found != (recipients.images, recipients.labels),
        "--private-labels": bundle.labels != said["labels"],
        "--consistency": bundle.consistency != (said["windows"] != 0),
        "--windows": bool(said["windows"])
        and bundle.consistency
        and bundle.windows != said["windows"],
    }


def write_sealed(
    folder: Path,
    store: CaseStore,
    split: FrozenSplit,
    *,
    part: HiddenPart,
    recipients: Recipients,
    track: Name,
    labels: LabelAccess,
    windows: int,
) -> None:
    """Write the sealed bundle of a hidden part of a split, from the store it was frozen from."""
    lock = split.lock
    seed = secrets.token_hex(32) if windows else None
    rows = [row for row in split.rows if row.part == part]
    if len(rows) * (1 + windows) > 2 * MAX_CASES:  # what predictions may name
        message = f"{len(rows)} {part} cases with {windows} windows each are too many images."
        raise BusbenchError(Code.USAGE, message, "Name fewer with --windows.")
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
            birads=case.birads,
            spacing_mm=case.spacing,
        )
        for n, (sealed, case, row) in enumerate(zip(blind, cases, rows, strict=True))
    ]
    index = SealedIndex(
        split_digest=lock.digest,
        consistency_seed=seed,
        windows=max(1, windows),
        cases=tuple(labelled),
    )
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
        part=part,
        dataset=lock.dataset,
        track=track,
        split_version=lock.version,
        split_digest=lock.digest,
        labels=labels,
        folds=lock.folds,
        cases=len(cases),
        images_sha256=sha256_bytes(images),
        labels_sha256=sha256_bytes(masks),
        consistency=windows > 0,
        windows=max(1, windows),
        image_recipient=recipients.images,
        label_recipient=recipients.labels,
    )
    write(bundle, folder / "bundle.json")
