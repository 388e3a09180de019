"""The formulas of the metrics as MathML, which browsers and screen readers know; edge tables.

The formulas state what `evaluator.metrics.formulas` computes in the `native` profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from evaluator.metrics import Edge, ProfileVersion, Situation, metrics_of
from evaluator.metrics.formulas import TOLERANCE_MM, TOLERANCE_PX

Formula = tuple[Markup, str]  # the formula, and what else there is to say


def _i(name: str) -> str:
    return f"<mi>{name}</mi>"


def _o(operator: str) -> str:
    return f"<mo>{operator}</mo>"


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _over(top: str, bottom: str) -> str:
    return f"<mfrac>{top}{bottom}</mfrac>"


def _size(*parts: str) -> str:
    return _row(_o("|"), *parts, _o("|"))


def _maths(name: str, right: str) -> Markup:
    return Markup(
        f"<math><mrow><mi mathvariant='normal'>{name}</mi>{_o('=')}{right}</mrow></math>"
    )  # ours


P, G = _i("P"), _i("G")
BOTH, EITHER = _size(P, _o("∩"), G), _size(P, _o("∪"), G)
EDGE_P, EDGE_G = _row(_o("∂"), P), _row(_o("∂"), G)


def _away(point: str, edge: str) -> str:
    return _row(_i("d"), _o("("), _i(point), _o(","), edge, _o(")"))


def _directed(start: str, end: str) -> str:
    return _row(_i("h"), _o("("), start, _o(","), end, _o(")"))


_OF_A = _row(_o("{"), _away("a", _i("B")), _o("∣"), _i("a"), _o("∈"), _i("A"), _o("}"))
_Q95 = "<msub><mi>Q</mi><mn>95</mn></msub>"
_PERCENTILE = _row(_directed(_i("A"), _i("B")), _o("="), _Q95, _OF_A)


def _sum(start: str, place: str, end: str) -> str:
    total = f"<munder>{_o('∑')}{_row(_i(place), _o('∈'), start)}</munder>"
    return _row(total, _away(place, end))


def _near(start: str, place: str, end: str) -> str:
    return _size(
        _o("{"), _i(place), _o("∈"), start, _o("∣"), _away(place, end), _o("≤"), _i("τ"), _o("}")
    )


_EDGES = _row(_size(EDGE_P), _o("+"), _size(EDGE_G))
_OUTSIDE = f"<mover>{G}{_o('¯')}</mover>"

FORMULAS: dict[str, Formula] = {
    "dice": (
        _maths("Dice", _over(_row("<mn>2</mn>", BOTH), _row(_size(P), _o("+"), _size(G)))),
        "",
    ),
    "iou": (_maths("IoU", _over(BOTH, EITHER)), ""),
    "hd95": (
        _maths(
            "HD95",
            _row(
                *(
                    _i("max"),
                    _o("("),
                    _directed(EDGE_P, EDGE_G),
                    _o(","),
                    _directed(EDGE_G, EDGE_P),
                ),
                _o(")"),
            ),
        ),
        Markup(f"With <math>{_PERCENTILE}</math>, the 95th percentile, linearly interpolated."),
    ),
    "precision": (_maths("Precision", _over(BOTH, _size(P))), ""),
    "recall": (_maths("Recall", _over(BOTH, _size(G))), ""),
    "specificity": (
        _maths("Specificity", _over(_size(_OUTSIDE, _o("∖"), P), _size(_OUTSIDE))),
        "Of the background, the share that was left alone.",
    ),
    "fp_area": (
        _maths("Area", _row(_size(P, _o("∖"), G), _o("·"), _i("a"))),
        "With a the area of a pixel.",
    ),
    "hd100": (
        _maths(
            "HD100",
            _row(_i("max"), _o("("), _away("p", EDGE_G), _o(","), _away("g", EDGE_P), _o(")")),
        ),
        "Over all points p of ∂P and g of ∂G.",
    ),
    "assd": (
        _maths(
            "ASSD",
            _over(_row(_sum(EDGE_P, "p", EDGE_G), _o("+"), _sum(EDGE_G, "g", EDGE_P)), _EDGES),
        ),
        "",
    ),
    "nsd": (
        _maths(
            "NSD",
            _over(_row(_near(EDGE_P, "p", EDGE_G), _o("+"), _near(EDGE_G, "g", EDGE_P)), _EDGES),
        ),
        f"With τ = {TOLERANCE_PX:g} px, or {TOLERANCE_MM:g} mm where the spacing is known.",
    ),
}


def edge_table(profile: ProfileVersion) -> Mapping[str, Any]:
    """The edge table of a version of a profile, without the ordinary row."""
    rules = {metric.title: profile.rule(metric.name) for metric in metrics_of(profile.name)}
    rows = [
        (str(situation), [str(rule.edges.get(situation, Edge.FORMULA)) for rule in rules.values()])
        for situation in Situation
        if situation is not Situation.ORDINARY
    ]
    return {"titles": list(rules), "rows": rows}
