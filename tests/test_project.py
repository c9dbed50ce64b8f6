"""The project's own files agree with each other: ranges and pins, README and Makefile."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from train.config.methods import METHODS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
ALLOWED_EXTRAS: dict[str, tuple[str, ...]] = {
    "ldm_envs": ("fast", "render"),
    "ldm_wrappers": ("sb3",),
    "train": ("train", "fast", "sweep", "render"),
}
OUR_PACKAGES = tuple(ALLOWED_EXTRAS)


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def pins(file: str = "constraints.txt") -> dict[str, str]:
    """Package name → pinned version, for the newest supported Python."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", f"not an exact pin: {line}"
            found[canonicalize_name(requirement.name)] = specifier.version
    return found


def requirements(*extras: str) -> list[Requirement]:
    """What the project itself asks for: the core and the named extras, self-references resolved."""
    optional = project()["optional-dependencies"]
    todo, done = [*project()["dependencies"], *(r for e in extras for r in optional[e])], []
    while todo:
        requirement = Requirement(todo.pop())
        if canonicalize_name(requirement.name) == project()["name"]:
            todo += [r for extra in sorted(requirement.extras) for r in optional[extra]]
        else:
            done.append(requirement)
    return done


def installed_requirements() -> list[Requirement]:
    return [r for r in requirements("dev") if r.marker is None or r.marker.evaluate()]


@pytest.mark.parametrize("requirement", installed_requirements(), ids=str)
def test_every_range_admits_its_pin(requirement: Requirement) -> None:
    version = pins().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} has no pin in constraints.txt"
    assert requirement.specifier.contains(version), f"{requirement} excludes the pin {version}"


def test_the_lowest_pins_are_where_ranges_begin() -> None:
    """So that `make test-lowest` tests what pyproject.toml claims (3.0.1 where there is no 3.0)."""
    lowest, named = pins("constraints-lowest.txt"), set()
    for requirement in requirements("test"):
        name = canonicalize_name(requirement.name)
        named.add(name)
        for begin in (s.version for s in requirement.specifier if s.operator == ">="):
            assert f"{lowest[name]}.".startswith(f"{begin}."), f"{requirement}: {lowest[name]}"
    assert named == set(lowest)


def test_pins_carry_no_build_tag() -> None:
    """A tag such as that of a CPU build would keep the other builds from everyone else."""
    assert [f"{n}=={v}" for n, v in pins().items() if "+" in v] == []


@pytest.mark.parametrize("package", OUR_PACKAGES)
def test_every_import_is_declared(package: str) -> None:
    """A module that only happens to be installed here is missing on the next machine."""
    declared = {canonicalize_name(r.name) for r in requirements(*ALLOWED_EXTRAS[package])}
    # Gymnasium's extras and matplotlib bring these; asking for them by name would fix a choice
    # that is their own.
    declared |= {"pygame", "pygame-ce", "imageio", "pillow"}
    known = packages_distributions()
    undeclared = set()
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no source found under {package}/"
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            for name in (n.partition(".")[0] for n in names):
                if name in sys.stdlib_module_names or name in OUR_PACKAGES:
                    continue
                if not declared & {canonicalize_name(d) for d in known.get(name, [name])}:
                    undeclared.add(f"{file.relative_to(ROOT)}:{node.lineno} imports {name}")
    assert not undeclared, "\n".join(sorted(undeclared))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy that holds all our packages, as a checkout does."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in OUR_PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "-w", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = target.iterdir()
    return file


def test_the_wheel_holds_environments_and_wrappers_only(wheel: Path) -> None:
    assert wheel.name == f"latent_dynamics_mixture-{project()['version']}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"ldm_envs", "ldm_wrappers"}
    for package in ("ldm_envs", "ldm_wrappers"):
        ours = {str(file.relative_to(ROOT)) for file in (ROOT / package).rglob("*.py")}
        assert {name for name in names if name.startswith(package + "/")} - ours == {
            str(file.relative_to(ROOT)) for file in (ROOT / package).rglob("py.typed")
        }
        assert ours <= set(names)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wrapper_examples_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """In a folder with a train.py, which a package of that name would be mixed up with."""
    site, folder = tmp_path / "site", tmp_path / "folder"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    examples = [block for block in blocks if "ldm_wrappers.sb3 import" in block]
    assert len(examples) == 2  # imagine(), and what it does
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    for example in examples:
        (folder / "train.py").write_text(
            f"{example}\nimport ldm_wrappers\nprint(ldm_wrappers.__file__, agent.num_timesteps)\n"
        )
        done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        file, steps = done.stdout.split()[-2:]
        assert Path(file).is_relative_to(site) and int(steps) >= 3_200


def makefile_verbs() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", ["README.md", ".ci/run"])
def test_every_make_verb_named_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named and named <= makefile_verbs(), named - makefile_verbs()


def test_make_help_names_every_verb() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^\s+make ([a-z-]+)", done.stdout, re.MULTILINE)) == makefile_verbs()


def tracked_text_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def test_no_path_of_one_machine_is_committed() -> None:
    folders = "|".join(["work", "root", "home", "Users", "opt"])
    machine_path = re.compile(rf"(?<![\w./~-])/(?:{folders})/[\w.-]|file:" + "//")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked_text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if machine_path.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_make_train_runs_the_script_of_the_method(method: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    command = ["make", "-n", "train", f"METHOD={method}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert f"-m {METHODS[method].script} --env-id" in done.stdout, done.stderr
