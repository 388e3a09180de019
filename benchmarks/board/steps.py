"""The example board as a list of commands: a pure function of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.board.plan import HERE, LEAK, PLAN, SINGLE, TEAM, Leak, Plan


@dataclass(frozen=True)
class Step:
    """One command, run in the board's folder."""

    command: tuple[str, ...]
    made: str | None = None  # what it leaves last; where that is there, it isn't run again


@dataclass(frozen=True)
class Places:
    """Where things are. All but what is named here is in the board's folder.

    Args:
        data: the folder of the releases.
        splits: the folder of the frozen splits.
        given: what was trained elsewhere, by track or `LEAK` and network, its folder `given`; and
            by `SINGLE` and network its submission.
        base: the base image of templates; None takes the one that their Dockerfile names.
        docs: the documentation that the results are written into.
        plan: the file of the plan; the recipes and the challenge are beside it.
    """

    data: Path
    splits: Path
    given: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    base: str | None = None
    docs: str = "docs"
    plan: Path = PLAN

    def beside(self, name: str) -> str:
        """A file beside the plan."""
        return str(self.plan.parent / name)

    def split(self, track: str) -> str:
        """The frozen split of a track."""
        return str(self.splits / track / "subset-v1")


def steps(plan: Plan, places: Places) -> Iterator[Step]:
    """Every command of the board, in order. All verbs go on where they were interrupted."""
    yield from _data(plan, places)
    yield from _certificates(plan, places)
    yield from _handed_over(plan, places)
    yield from _networks(plan, places)
    yield from _others(plan, places)
    yield from _averages(plan)
    if plan.leak is not None:
        yield from _by_image(plan.leak, places)
    yield from _away(plan, places)
    yield from _board(plan, places)


def busbench(*words: str, made: str | None = None) -> Step:
    """A command of the harness."""
    return Step(("busbench", *words), made)


def _data(plan: Plan, places: Places) -> Iterator[Step]:
    yield Step(("cp", places.beside("challenge.yaml"), "challenge.yaml"))
    stores = {track: f"stores/{track}" for track in plan.tracks}
    for track, folder in plan.tracks.items():
        yield busbench("prepare", track, "--raw", str(places.data / folder), "--out", stores[track])
    yield busbench("audit", *stores.values(), "--out", "audits", made="audits/cross-audit.json")
    yield busbench("keys", "new", "keys", made="keys")
    for track, store in stores.items():
        split, out = places.split(track), f"bundles/{track}"
        yield busbench("seal", store, "--split", split, "--keys", "keys", "--out", out)
    if plan.leak is not None:
        store, split = stores[plan.leak.track], f"{LEAK}/split"
        yield busbench("freeze", store, "--policy", "image", "--out", split)
        sealed = ("--split", split, "--keys", "keys", "--out", f"{LEAK}/bundles")
        yield busbench("seal", store, *sealed, *_AWAY)


_CLUSTER = ("--cluster", "local:2")
_AWAY = ("--challenge", str(HERE / "leak.yaml"))  # outside the challenge: nothing is recorded


def _certificates(plan: Plan, places: Places) -> Iterator[Step]:
    """What the audit says of the splits that come with a release, and of those used here."""
    for track, folder in plan.tracks.items():
        splits = {name: places.data / folder / name for name in plan.published.get(track, ())}
        splits["subset-v1"] = Path(places.split(track))
        if plan.leak is not None and plan.leak.track == track:
            splits["by image"] = Path(LEAK) / "split"
        for name, path in splits.items():
            out = f"certificates/{track}/{name}"
            made = f"{out}/certificate.json"
            words = (f"stores/{track}", "--split", str(path), "--out", out)
            yield busbench("audit", *words, made=made)


def _handed_over(plan: Plan, places: Places) -> Iterator[Step]:
    """Lay what was trained elsewhere where `busbench benchmark` looks for it, whole."""
    for (where, network), source in places.given.items():
        folder, name = f"bench/{where}/{network}", "given"
        if where == LEAK and plan.leak is not None:
            folder = f"{LEAK}/bench/{plan.leak.track}/{network}"
        elif where == SINGLE:
            folder, name = f"made/{plan.single[network]}", network
        whole, part = f"{folder}/{name}", f"{folder}/.{name}"
        yield Step(("mkdir", "-p", part), made=whole)
        yield Step(("cp", "-r", f"{source}/.", part), made=whole)
        yield Step(("mv", part, whole), made=whole)


def _networks(plan: Plan, places: Places) -> Iterator[Step]:
    recorded = ("--out", "bench", "--ledger", "ledger.jsonl")
    for network, trained in plan.networks.items():
        bundles = {track: f"bundles/{track}" for track in trained.tracks}
        yield _benchmark(network, bundles, places, *recorded)


def _benchmark(network: str, bundles: Mapping[str, str], places: Places, *options: str) -> Step:
    tracks = ",".join(f"{track}={place}" for track, place in bundles.items())
    return busbench(
        "benchmark", "--networks", network, "--tracks", tracks,
        f"--recipe={network}={places.beside(f'recipes/{network}.yaml')}",
        "--keys", "keys", *_CLUSTER, *options,
    )  # fmt: skip


def _others(plan: Plan, places: Places) -> Iterator[Step]:
    """Templates and baselines."""
    for template in plan.templates:
        yield from _image(template, places.base)
    for track in plan.tracks:
        templates = {name: one for name, one in plan.templates.items() if track in one.tracks}
        made = [f"made/{track}/{kind}" for kind in (*plan.baselines, *templates)]
        for kind in plan.baselines:
            yield _trained(kind, track, "reference", verb=f"baseline --kind {kind}")
        for name, one in templates.items():
            yield _trained(name, track, _tag(name), options=one.options)
        if plan.memoriser:
            out = f"made/{track}/memoriser"
            sources = (*_bundle(track), "--published", f"stores/{track}")
            yield _made(out, "baseline", "--kind", "memoriser", "--team", "Example", *sources)
            made.append(out)
        single = {name for name, its in plan.single.items() if its == track}
        made += [f"made/{track}/{n}" for n in sorted(single) if (SINGLE, n) in places.given]
        yield _evaluated(made, track)


def _tag(template: str) -> str:
    return f"busbench-board-{template}"


def _image(template: str, base: str | None) -> Iterator[Step]:
    folder = f"templates/{template}"
    yield busbench("new-submission", folder, "--like", template, "--team", TEAM, made=folder)
    options = ("--build-arg", f"BASE_IMAGE={base}") if base else ()
    yield Step(("docker", "build", "--quiet", *options, "--tag", _tag(template), folder))


def _bundle(track: str) -> tuple[str, str]:
    return ("--bundle", f"bundles/{track}/training")


def _trained(name: str, track: str, image: str, *, verb: str = "run", options: str = "") -> Step:
    command = f"{verb} --bundle {{bundle}} --out {{out}} {options}".rstrip()
    made = ("--out", f"made/{track}/{name}", "--keys", "keys", "--command", command)
    return busbench("train", image, *_bundle(track), *made)


def _made(out: str, *words: str) -> Step:
    """A command of the reference networks that writes a submission."""
    return Step(
        ("python", "-m", "reference_models", *words, "--out", out), made=f"{out}/submission.yaml"
    )


def _averages(plan: Plan) -> Iterator[Step]:
    for track in plan.tracks:
        made = []
        for network, trained in plan.networks.items():
            for what in trained.averaged if track in trained.tracks else ():
                made.append(f"made/{track}/{network}-{what}")
                options = (f"--{word}" for word in what.split("-"))
                source = _submission(track, network)
                yield _made(made[-1], "combine", source, *_bundle(track), *options)
        if made:
            yield _evaluated(made, track)


def _submission(track: str, network: str) -> str:
    return f"bench/{track}/{network}/submission"


def _evaluated(submissions: Sequence[str], track: str, *options: str) -> Step:
    return busbench(
        "evaluate", *submissions, "--bundle", f"bundles/{track}", "--keys", "keys",
        "--out", "bench/runs", "--ledger", "ledger.jsonl", *_CLUSTER, *options,
    )  # fmt: skip


def _by_image(leak: Leak, places: Places) -> Iterator[Step]:
    for network in leak.networks:
        bundles = {leak.track: f"{LEAK}/bundles"}
        yield _benchmark(network, bundles, places, "--out", f"{LEAK}/bench", *_AWAY)


def _away(plan: Plan, places: Places) -> Iterator[Step]:
    """Each trained network and template on the tracks that it was not trained on."""
    for track in plan.tracks:
        homes = [home for home in plan.tracks if home != track]
        trained = [
            _submission(h, n) for n, its in plan.networks.items() for h in homes if h in its.tracks
        ]
        trained += [
            f"made/{h}/{n}" for n, its in plan.templates.items() for h in homes if h in its.tracks
        ]
        if trained:
            yield _evaluated(trained, track, "--on", track, "--splits", str(places.splits))


def _each(option: str, folder: str, tracks: Sequence[str]) -> Iterator[str]:
    for track in tracks:
        yield from (option, f"{folder}/{track}")


def _board(plan: Plan, places: Places) -> Iterator[Step]:
    tracks = [*plan.tracks]
    yield busbench("rank", "ledger.jsonl", "--cases", "bench/runs", "--keys", "keys")
    shown = ("--splits", str(places.splits), *_each("--store", "stores", tracks))
    yield busbench("publish", "ledger.jsonl", "--out", "site", "--cases", "bench/runs", *shown)
    yield busbench(
        "verify", "ledger.jsonl", "--key", "keys/report.pub", "--rescore", "bench/runs",
        *_each("--bundle", "bundles", tracks), "--keys", "keys",
    )  # fmt: skip
    chosen = () if places.plan == PLAN else ("--plan", str(places.plan))
    yield Step(("python", "-m", "benchmarks.board.keep", ".", "--docs", places.docs))
    yield Step(("python", "-m", "benchmarks.board.page", "--docs", places.docs, *chosen))
