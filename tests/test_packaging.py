"""The layout's guards: what is declared, what is exported, what must never be in a tracked file."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def test_constraints_are_bare_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)


def test_cli_page_is_the_real_help():
    done = subprocess.run(
        [sys.executable, ROOT / "docs/make_cli.py", "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
