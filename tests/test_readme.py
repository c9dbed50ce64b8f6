"""The README: its code runs, its files exist, and a newcomer can read it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import gymnasium as gym
import pytest

from train import recurrent_ppo

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_ELSEWHERE = {"own_environments.md"}  # tests/test_documentation.py


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def code() -> list[tuple[str, str]]:
    return [
        (d.name, block)
        for d in DOCUMENTS
        if d.name not in RUN_ELSEWHERE
        for block in blocks(d, "python")
    ]


@pytest.mark.parametrize(("name", "block"), code(), ids=lambda value: str(value)[:20])
def test_every_python_block_runs(
    name: str, block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a tenth of the steps, so that it takes seconds, and a small run where one is named."""
    monkeypatch.chdir(tmp_path)
    for run in set(re.findall(r"runs/([\w-]+)", block)):
        flags = "--n-workers 4 --n-mixture-workers 1 --mixture.n-components 3 --n-minibatches 1"
        flags += (
            f" --device cpu --vae-buffer-trajectories 50 --total-timesteps 960 --run-dir runs/{run}"
        )
        assert recurrent_ppo.main(["--env-id", "LDM-GridNavi-v0", *flags.split()]) == 0
    monkeypatch.setattr(gym, "make", _short(gym.make))
    block = re.sub(r"learn\(9_600", "learn(960", block)
    block = re.sub(r"n_steps=400|max_length=400", lambda m: m.group().replace("400", "40"), block)
    exec(compile(block, name, "exec"), {"__name__": "__main__"})


def _short(make: object) -> object:
    def made(env_id: str, **arguments: object) -> object:
        if env_id == "Pendulum-v1":
            arguments["max_episode_steps"] = 20
        return make(env_id, **arguments)  # type: ignore[operator]

    return made


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_local_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)\)", document.read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if not link.startswith(("http://", "https://")) and not (document.parent / link).exists()
    ]
    assert not missing


def test_every_module_named_in_a_command_exists() -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    for name in set(re.findall(r"-m ((?:train|benchmarks)\.[a-z_.]+)", text)):
        path = ROOT / name.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").exists() or path.is_dir(), name


def test_every_source_file_named_exists() -> None:
    """A bare name lies in the folder of the path before it."""
    folder = ROOT
    names = re.findall(r"`([\w/]+\.py)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert names
    for name in names:
        folder = (ROOT / name).parent if "/" in name else folder
        assert (folder / Path(name).name).exists(), name


def test_paragraphs_are_short_and_a_picture_comes_early() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    paragraphs = [p for p in prose.split("\n\n") if not p.startswith("|")]
    assert max(len(p.split()) for p in paragraphs) <= 80
    assert any(line.startswith("![") for line in text.splitlines()[:40])


def test_the_table_of_mujoco_results_has_the_numbers_of_the_results() -> None:
    """Cells are means over seeds of the rows of `summary.csv`, whatever their labels add.

    LDM's are those of its default alone.
    """
    groups = {
        "LDM": "ldm", "LDM on variBAD": "ldm-varibad", "variBAD": "varibad",
        "RL²": "rl2", "Mixreg": "mixreg", "ProMP": "promp", "PEARL": "pearl", "MIER": "mier",
        "MQL": "mql", "`known-task`": "known-task", "RL²'s oracle": "oracle-rl2",
        "variBAD's oracle": "oracle-varibad",
    }  # fmt: skip
    columns = {"HalfCheetahVel": "eval", "AntDir": "test", "AntGoal": "eval"}
    with (ROOT / "results/mujoco/summary.csv").open(encoding="utf-8", newline="") as file:
        summary = list(csv.DictReader(file))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| method | HalfCheetahVel") :].split("\n\n")[0].splitlines()[2:]
    shown = {re.split(r" \(|, ", row.split("|")[1].strip(" *"))[0]: row for row in table}
    for label, group in groups.items():
        cells = [cell.strip(" *") for cell in shown[label].split("|")[2:]]
        seeds = []
        for (family, split), cell in zip(columns.items(), cells[:3], strict=True):
            rows = [
                row
                for row in summary
                if (row["env_id"], row["split"]) == (f"LDM-{family}-v0", split)
                if row["group"] == group
                or (label != "LDM" and row["group"].startswith(f"{group} "))
            ]
            last = max((int(row["episode"]) for row in rows), default=0)
            rows = [row for row in rows if int(row["episode"]) == last]
            n = sum(int(row["runs"]) for row in rows)
            if not n:
                assert not cell, (label, family)
                continue
            seeds.append(str(n))
            mean = sum(int(row["runs"]) * float(row["return_mean"]) for row in rows) / n
            assert cell == f"{mean:.0f}", (label, family)
        assert cells[3] == ", ".join(seeds), label
