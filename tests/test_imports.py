"""Data flows one way: what renders cannot train, and the networks know nothing of ours."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OURS = ("models", "utils")
RENDERING = (
    "evidence",
    "tables",
    "markdown",
    "plotting",
    "figures",
    "overview",
    "readme",
    "render",
)
TRAINING = (
    "training",
    "measuring",
    "layer_study",
    "data",
    "batches",
    "checkpoint",
    "runner",
    "probes",
)


def imports(path: Path) -> set[str]:
    """Dotted names of our own modules that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in OURS or name.startswith("homework_")}


def reachable(module: str, seen: set[str]) -> set[str]:
    """The module and all of ours that importing it imports."""
    path = REPOSITORY / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.exists():  # the second: a name that stands in a module
        return seen
    seen.add(module)
    for name in imports(path):
        reachable(name, seen)
    return seen


@pytest.mark.parametrize("path", sorted((REPOSITORY / "models").glob("*.py")), ids=lambda p: p.name)
def test_models_import_nothing_of_ours_outside_their_folder(path: Path) -> None:
    assert all(name.split(".")[0] == "models" for name in imports(path))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "utils").glob("*.py")), ids=lambda p: p.name)
def test_helpers_never_import_the_scripts(path: Path) -> None:
    assert not any(name.startswith("homework_") for name in imports(path))


@pytest.mark.parametrize("module", RENDERING)
def test_rendering_reaches_neither_training_nor_networks_nor_datasets(module: str) -> None:
    assert (REPOSITORY / "utils" / f"{module}.py").exists()
    found = reachable(f"utils.{module}", set())
    assert not found & {f"utils.{name}" for name in TRAINING}
    assert not any(name.split(".")[0] == "models" for name in found)


def test_the_walk_over_imports_finds_what_is_there() -> None:
    found = reachable("utils.runner", set())
    assert {f"utils.{name}" for name in (*RENDERING, *TRAINING)} <= found
    assert {"models", "models.registry", "models.residual"} <= found
