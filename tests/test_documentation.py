"""Code blocks of the documentation run, and its links lead somewhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "own_environments.md"]
LINKED = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "README.md",
]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (page, number, text)
    for page in PAGES
    for number, text in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize(
    ("page", "number", "text"), BLOCKS, ids=[f"{page.stem}-{number}" for page, number, _ in BLOCKS]
)
@pytest.mark.filterwarnings("ignore")
def test_code_blocks_run(page: Path, number: int, text: str) -> None:
    needed = re.match(r"# needs: (\w+)", text)
    if needed is not None:
        pytest.importorskip(needed[1])
    exec(compile(text, f"{page.name}, block {number}", "exec"), {"__name__": "documentation"})


@pytest.mark.parametrize("page", LINKED, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page}: {target}"


PACKAGES = ["ldm_envs", "ldm_wrappers"]
PACKAGES += [f"ldm_wrappers.{name}" for name in ("imagination", "latent_dynamics", "sb3", "vector")]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_api_page_has_every_exported_name(package: str) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(importlib.import_module(package).__all__) <= set(re.findall(r"\w+", page))
