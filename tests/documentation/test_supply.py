"""Supply: what is installed beside keys has a hash, and no name leads to a stranger."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

LOCKS = sorted((ROOT / "containers" / "locks").glob("*.txt"))
PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")
# Where commands of an installation are: all of it is run on the organiser's machines.
INSTALLERS = [
    *sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    ROOT / "ci" / "gitlab-ci.example.yml",
    *sorted(
        path for path in (ROOT / "containers").rglob("*") if path.suffix in (".Dockerfile", ".sh")
    ),
]
# An index has no package of ours: who registers the name would run beside the organiser's keys.
BARE = re.compile(
    r"""(?:\b(?:pip3?|pipx|uv)\b[^\n|]*\b(?:install|add|run)\b[^\n|]*
        [ \t"'`=]busbench(?:\[|==|["'`\s,]|$)
        |(?<![\w./-])busbench\[)""",
    re.X,
)


def texts() -> list[tuple[str, str]]:
    """Every text that the project keeps, by its path."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    found = []
    for name in names.split("\0"):
        path = ROOT / name
        if name and path.is_file() and path != Path(__file__):
            found.append((name, path.read_bytes().decode("utf-8", "replace")))
    return found


def test_no_text_sends_anybody_to_a_package_of_that_name() -> None:
    said = {
        f"{name}: {match[0]}" for name, text in texts() for match in BARE.finditer(joined(text))
    }
    assert said == set()


@pytest.mark.parametrize(
    "text",
    [
        'pip install "busbench[evaluator]"',
        "pip install 'busbench'",
        "$ pip install -r requirements.txt busbench",
        "pip3 install --upgrade busbench==0.2.0",
        "python -m pip install -q busbench pytest",
        "uv add busbench",
        "pipx install busbench",
        "Install busbench[gpu].",
        "it comes with busbench[dev]",
    ],
)
def test_no_way_to_say_it_escapes(text: str) -> None:
    assert BARE.search(text)


@pytest.mark.parametrize(
    "text",
    [
        'pip install -e ".[evaluator]"',
        'pip install -e "../busbench[evaluator]"',
        "git clone URL busbench && cd busbench",
        "pip install dist/busbench-0.2.0-py3-none-any.whl",
        "Run pip install -e '.[gpu]' in your checkout of BUSBench.",
    ],
)
def test_a_source_that_exists_may_be_named(text: str) -> None:
    assert not BARE.search(text)


def joined(text: str) -> str:
    """A text whose continued lines are one line each."""
    return re.sub(r"\s*\\\n\s*", " ", text)


def pins(path: Path) -> dict[str, str]:
    """Name and version of each line of a lock."""
    lines = joined(path.read_text()).splitlines()
    found = [PIN.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {canonicalize_name(match[1]): match[2] for match in found if match}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_no_lock_names_a_file_without_its_hash(path: Path) -> None:
    assert pins(path)


def test_no_dependency_of_the_harness_is_missing_from_its_lock() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = pins(ROOT / "containers" / "locks" / "harness.txt")
    for line in [*document["project"]["dependencies"], *document["build-system"]["requires"]]:
        wanted = Requirement(line)
        version = locked[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version, prereleases=True), (line, version)


@pytest.mark.parametrize("path", INSTALLERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_without_a_hash_is_installed_beside_keys_or_in_images(path: Path) -> None:
    text = re.sub(r"\n\s+(?=--)", " ", joined(path.read_text()))
    for command in re.findall(r"pip\"? install\b[^\n&]*", text):
        ours = "--no-index" in command and "--no-deps" in command  # the checkout, or its wheel
        locked = "--require-hashes" in command and "--only-binary :all:" in command
        assert ours or locked, command


def test_the_installations_are_found() -> None:
    found = [path for path in INSTALLERS if "pip" in path.read_text()]
    assert len(found) >= 6


def test_no_package_of_this_environment_is_missing_from_its_bill(tmp_path: Path) -> None:
    """Compared with pip's own list; the form is checked against CycloneDX's schema."""
    script, bill = ROOT / "containers" / "sbom.py", tmp_path / "a" / "sbom.cdx.json"
    for _ in range(2):
        before = bill.read_bytes() if bill.exists() else None
        subprocess.run([sys.executable, script, "busbench/test", bill], check=True, cwd=tmp_path)
        assert before in (None, bill.read_bytes())  # the same image, the same bill
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(bill.read_text()) is None
    components = json.loads(bill.read_text())["components"]
    listed = {(one["name"], one["version"]) for one in components if "pypi" in one["purl"]}
    pip = [sys.executable, "-m", "pip", "list", "--format", "json"]
    said = subprocess.run(pip, check=True, capture_output=True, cwd=tmp_path).stdout
    assert {(one["name"], one["version"]) for one in json.loads(said)} <= listed


def test_no_bill_that_is_wrong_passes_the_schema() -> None:
    """A validator that passes everything finds nothing."""
    wrong = '{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"nonsense"}]}'
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(wrong) is not None


def tracked() -> set[str]:
    """The repository's files, as git lists them."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.splitlines() if not name.startswith(".ci/")}


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git alone knows which files are kept")
def test_no_file_is_missing_in_what_a_release_has(tmp_path: Path) -> None:
    for name in tracked():
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone" / name)
    for kind in ("sdist", "wheel"):
        code = f"from setuptools import build_meta; build_meta.build_{kind}({str(tmp_path)!r})"
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "clone", check=True)
    (archive,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(archive) as source:
        assert tracked() - {name.partition("/")[2] for name in source.getnames()} == set()
    packages = (
        "containers/",
        "evaluator/",
        "harness/",
        "reference_models/",
        "submission_template/",
    )
    packaged = {name for name in tracked() if name.startswith(packages)}
    with zipfile.ZipFile(wheel) as installed:
        assert packaged - {*installed.namelist()} == set()
