"""Submissions as a command line names them: folders, or container images by digest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from evaluator.documents.base import Name
from evaluator.documents.submission import IMAGE, ImageSubmission
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.submission import DOCUMENT, read_entry, write_document

LOCAL = "local"  # the team of an image that is evaluated on public cases alone
_PARTS = re.compile(r"[@:]")


@dataclass(frozen=True)
class Named:
    """What is said of images that are named without a folder."""

    track: Name
    team: str | None
    method: str | None
    runs: Path  # their documents are kept there


def is_image(word: str) -> bool:
    """Whether a word names a container image by digest, and no folder."""
    return re.match(IMAGE, word) is not None and not Path(word).exists()


def only_track(challenge: Challenge) -> Name:
    """The track of an image that is checked without a bundle, which says no track itself.

    Raises:
        BusbenchError: `usage` where the challenge has many tracks.
    """
    if len(challenge.tracks) > 1:
        message = "challenge.yaml has more than one track, and an image is of none by itself."
        raise BusbenchError(Code.USAGE, message, "Name the track's training bundle with --bundle.")
    return next(iter(challenge.tracks), LOCAL)


def folders(words: Sequence[str], named: Named) -> list[Path]:
    """The folder of each submission; of an image, one with its document, which is written.

    Raises:
        BusbenchError: `usage` where a word is neither, or an image has no team.
    """
    return [_image_folder(word, named) if is_image(word) else _folder(word) for word in words]


def _folder(word: str) -> Path:
    if not Path(word).is_dir():
        message = f"{word} is neither a folder nor a container image by digest."
        remedy = "Name the submission's folder, or IMAGE@sha256:…, as `docker push` prints it."
        raise BusbenchError(Code.USAGE, message, remedy)
    return Path(word)


def _image_folder(word: str, named: Named) -> Path:
    if named.team is None:
        message = f"{word} is of no team."
        raise BusbenchError(Code.USAGE, message, "Say whose it is with --team.")
    name, _, digest = word.rpartition("sha256:")
    called = _PARTS.split(name.rpartition("/")[2])[0] or f"image {digest[:12]}"
    fields = {"team": named.team, "method": named.method or called, "track": named.track}
    try:
        document = ImageSubmission.model_validate({**fields, "image": word})
    except ValidationError as error:
        wrong = ".".join(map(str, error.errors()[0]["loc"]))
        message = f"--{wrong} has a value that no submission may have."
        remedy = "Take at most 100 characters, without line breaks."
        raise BusbenchError(Code.USAGE, message, remedy) from error
    place = named.runs / "images" / document.digest[:16]
    write_document(document, place / DOCUMENT)
    return place


def names_image(folder: Path) -> bool:
    """Whether the submission in a folder is a container image; False where it cannot be read."""
    try:
        return isinstance(read_entry(folder), ImageSubmission)
    except BusbenchError:
        return False
