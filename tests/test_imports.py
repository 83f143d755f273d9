"""Data flows one way: what renders cannot train, and the networks know nothing of ours."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OURS = ("models", "utils")
RENDERING = ("tables", "plotting", "figures", "readme", "render")


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
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    if module in seen or not path.exists():
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
    forbidden = {"utils.training", "utils.measuring", "utils.data", "utils.runner", "utils.probes"}
    assert not found & forbidden
    assert not any(name.startswith("models") for name in found)
