"""The arrows between the rooms: train → ldm_wrappers, train → ldm_envs, and no others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from train.config.methods import METHODS

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


# inside train/, every folder imports only folders on lower floors; scripts stand above all
FLOORS = [
    {"train.config"},
    {"train.persistence"},
    {"train.common"},
    {"train.meta_gradient", "train.off_policy", "train.analysis"},
    {"train.plots"},
    {"train.sweeps"},
]
OURS = ("ldm_envs", "ldm_wrappers", "train", "benchmarks")


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Module → modules of ours that it imports, under ``TYPE_CHECKING`` and in functions too."""
    files = [file for folder in OURS for file in sorted((ROOT / folder).rglob("*.py"))]
    names = {module_name(file) for file in files}
    graph: dict[str, set[str]] = {}
    for file in files:
        found: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name for name in whole if name in names} or {node.module}
        graph[module_name(file)] = (found & names) - {module_name(file)}
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that lead back to themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += graph.get(name, ())
        return seen

    return [name for name in graph if name in reached(name)]


def test_the_circle_search_finds_one() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_import_leads_back() -> None:
    assert circles(import_graph()) == []


def room(name: str) -> str:
    """The folder of ``train`` that a module lies in, or ``"train"`` for a script."""
    parts = name.split(".")
    inner = (ROOT / "train" / parts[1]).is_dir() if len(parts) > 1 else False
    return ".".join(parts[:2]) if inner else "train"


def test_floors_of_train() -> None:
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    floor["train"] = len(FLOORS)
    assert len(FLOORS) + 1 <= 7
    wrong = [
        f"{name} (floor {floor[room(name)]}) imports {other} (floor {floor[room(other)]})"
        for name, imported in import_graph().items()
        if name.startswith("train.")
        for other in imported
        if other.startswith("train.")
        and room(name) != room(other)
        and floor[room(other)] >= floor[room(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_scripts_do_not_import_each_other() -> None:
    scripts = {method.script for method in METHODS.values()}
    importing = [name for name, imported in import_graph().items() if imported & scripts]
    assert [name for name in importing if not name.startswith("benchmarks.")] == []


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
