"""The arrows between the rooms: train → ldm_wrappers, train → ldm_envs, and no others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SB3 = {"stable_baselines3", "sb3_contrib"}

# folder, the top-level modules it must never import, the subfolder that may
ARROWS = [
    ("ldm_envs", {"torch", "ldm_wrappers", "train"} | SB3, None),
    ("ldm_wrappers", {"ldm_envs", "train"}, None),
    ("ldm_wrappers", SB3, "ldm_wrappers/sb3"),
]


def imported_modules(source: str) -> dict[str, int]:
    """Top-level names of the modules that `source` imports anywhere, with a line number."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            first = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(first, ast.Constant):
                names = [str(first.value)]
        for name in names:
            found.setdefault(name.partition(".")[0], node.lineno)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import numpy, torch.nn as nn",
        "from torch.nn import functional",
        "def f():\n    import torch",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor",
        "import importlib\nimportlib.import_module('torch.nn')",
        "__import__('torch')",
    ],
)
def test_the_scan_sees_every_form_of_import(source: str) -> None:
    assert "torch" in imported_modules(source)


def test_the_scan_ignores_relative_imports_and_other_names() -> None:
    assert set(imported_modules("from . import torch\nfrom .train import f")) == set()
    assert set(imported_modules("import torchvision")) == {"torchvision"}


@pytest.mark.parametrize(("folder", "forbidden", "except_in"), ARROWS)
def test_arrows(folder: str, forbidden: set[str], except_in: str | None) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"no source found under {folder}/"
    wrong = []
    for file in files:
        if except_in is not None and file.is_relative_to(ROOT / except_in):
            continue
        modules = imported_modules(file.read_text(encoding="utf-8"))
        wrong += [
            f"{file.relative_to(ROOT)}:{line} imports {name}"
            for name, line in modules.items()
            if name in forbidden
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "absent"),
    [("ldm_envs", {"torch", "ldm_wrappers"} | SB3), ("ldm_wrappers", {"ldm_envs"} | SB3)],
)
def test_importing_loads_nothing_heavy(package: str, absent: set[str]) -> None:
    """The scan reads our files; this one also catches what a dependency drags in."""
    code = f"import sys, {package}; print(*({absent!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
