"""Notes of a team on its method: text that is shown, and never fetched or believed."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from evaluator.documents.base import Contract
from evaluator.harmless import harmless

NONE: Final = "none"  # of data and weights: said; null is not said
_UNSURE = frozenset(("", "-", "n/a", "na", "no", "not", "nothing", "null", "nil", "false", "0"))
# Visible ASCII without quotes and angle brackets; a host without a name or a password before it.
HTTPS = re.compile(r"https://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?([/?#][!#-&(-;=?-\[\]_a-z~]*)?")


def _as_shown(text: str) -> str:
    if harmless(text, len(text)) != text:
        raise ValueError(
            "it has characters that would not be shown: write one line of letters, digits, spaces "
            "and punctuation"
        )
    return text


def _https(text: str) -> str:
    if HTTPS.fullmatch(text) is None:
        raise ValueError(
            "it is no address that begins with https://, a host's name, and has visible ASCII "
            "characters alone"
        )
    return text


def _said(text: object) -> object:
    """`none` in any case, or what there is."""
    if text is False or (isinstance(text, str) and text.strip().lower() in _UNSURE):
        raise ValueError("write `none` where there is none, what it is, or leave it out")
    return NONE if isinstance(text, str) and text.strip().lower() == NONE else text


Line = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_as_shown)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_as_shown)]
Link = Annotated[str, StringConstraints(max_length=300), AfterValidator(_https)]
Extra = Annotated[
    str,
    BeforeValidator(_said),
    StringConstraints(min_length=1, max_length=300),
    AfterValidator(_as_shown),
]


class MethodNotes(Contract):
    """What a submission says of its method; what is null is not stated, which is not `none`."""

    description: Text | None = Field(default=None, description="The method, in a line.")
    authors: tuple[Line, ...] = Field(default=(), max_length=50, description="Whose it is.")
    paper: Link | None = Field(default=None, description="Its paper, `https://…`.")
    code: Link | None = Field(default=None, description="Its code, `https://…`.")
    licence: Line | None = Field(default=None, description="Of code and weights, such as `MIT`.")
    external_data: Extra | None = Field(
        default=None,
        description="Images that training saw beside the training bundle; `none` where there were "
        "none. Null: not stated.",
    )
    pretrained: Extra | None = Field(
        default=None,
        description="The weights that training began with; `none` where they were random. Null: "
        "not stated.",
    )

    @property
    def notes(self) -> MethodNotes:
        """These fields alone."""
        return MethodNotes.model_validate(
            {name: getattr(self, name) for name in MethodNotes.model_fields}
        )

    @property
    def external(self) -> str:
        """What is stated of external data, in a word or three."""
        if self.external_data is None:
            return "not stated"
        return "no external data" if self.external_data == NONE else "external data"

    @property
    def says_nothing(self) -> bool:
        """Whether no field is stated."""
        return self.notes == MethodNotes()


def from_version_1(fields: Any, schema: str, new: Collection[str]) -> Any:
    """A document of version 1 as one of `schema`, version 2, which has more fields.

    Args:
        fields: the document, as it was read.
        new: names of fields that version 1 lacks, and this document has.

    Raises:
        ValueError: where it has one of them.
    """
    first = f"{schema.rpartition('/')[0]}/v1"
    if not isinstance(fields, dict) or fields.get("schema") != first:
        return fields
    for name in new:
        raise ValueError(f"{name} is of {schema}, and the document of {first}: write the newer one")
    return {**fields, "schema": schema}
