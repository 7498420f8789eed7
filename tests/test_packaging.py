"""The layout's guards: what is declared, what is exported, what must never be in a tracked file."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import datagen

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = [m.name for m in pkgutil.walk_packages(datagen.__path__, "datagen.")]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_every_package_folder_is_declared():
    mapping = PROJECT["tool"]["setuptools"]["package-dir"]
    tops = {name.rpartition(".")[2]: name for name in mapping}
    found = set()
    for top, name in tops.items():
        for init in (ROOT / top).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / top).parts
            if not (top == "datagen" and inside and inside[0] in tops):  # the symlinks to the folders on top
                found.add(".".join([name, *inside]))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("name", MODULES)
def test_all_names_what_exists(name):
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{name}.__all__ names {exported}"


@pytest.mark.parametrize("folder", ["captioners", "filters", "train", "eval"])
def test_the_folders_on_top_are_one_module_object(folder):
    code = f"import sys, datagen.{folder}; assert '{folder}' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/", timeout=60)


@pytest.mark.parametrize("module", ["datagen.cli", "datagen.llm"])
def test_light_modules_load_nothing_heavy(module):
    heavy = ["polars", "pyarrow", "torch", "transformers", "datasets", "librosa", "scipy", "rich"]
    code = f"import sys, {module}; print([n for n in {heavy!r} if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.strip() == "[]"


def test_no_tracked_file_names_a_registry_host_or_a_place_on_a_machine():
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org"]
    forbidden = re.compile("|".join([*map(re.escape, hosts), "/work" + "/", "/root" + "/", "(?<![a-z])/home" + "/"]))
    for path in tracked():
        if path.is_symlink() or not path.is_file():
            continue
        found = forbidden.search(path.read_bytes().decode("utf-8", "replace"))
        assert not found, f"{path.relative_to(ROOT)}: {found}"


def constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()[1:]


def test_constraints_are_bare_pins():
    assert constraints() == sorted(constraints())
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in constraints())


def test_constraints_hold_every_dependency_and_its_dependencies():
    pinned = {line.partition("==")[0] for line in constraints()}
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(text for texts in extras.values() for text in texts)]
    waiting, needed = [Requirement(text) for text in asked], set()
    while waiting:
        found = waiting.pop()
        name = canonicalize_name(found.name)
        if name in needed or name == "datagen-audioqa":
            continue
        needed.add(name)
        if name == "torch":  # which pins its own GPU libraries, and needs them on some machines only
            continue
        try:
            if f"{name}=={version(name)}" not in constraints():  # another version asks for other packages
                continue
            below = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        wanted = [*found.extras, ""]
        waiting += [r for r in below if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in wanted)]
    assert needed <= pinned, f"not pinned: {sorted(needed - pinned)}"


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target} is not there"


def test_the_plug_in_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(# mine\.py\n.*?)```", text, re.DOTALL)
    (call,) = re.findall(r"^    PYTHONPATH=\. datagen (build .*)$", text, re.MULTILINE)
    (tmp_path / "mine.py").write_text(code.replace("rain", "loud"))
    command = [sys.executable, "-c", "from datagen.cli import main; main()", *call.split(), "--limit", "20", "--json"]
    environment = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rejected"]["mine:NoWeather"]["weather"] > 0


def test_cli_page_is_the_real_help():
    done = subprocess.run(
        [sys.executable, ROOT / "docs/make_cli.py", "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
