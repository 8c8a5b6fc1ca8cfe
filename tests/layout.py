"""Reads the package's source with `ast`: which module imports which, and what lies where."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: bottom to top; a module imports from its own floor or from lower ones
FLOORS = (
    "child",
    "convert",
    "runtimes",
    "accuracy",
    "verify",
    "profiles",
    "tune",
    "report",
    "export",
    "steps",
    "pipeline",
    "progress",
    "commands",
    "cli",
)
#: folders of the root that hold Python and are no part of the package
OUTSIDE = {"tests", "benchmarks", "build", "runs"}


@dataclass(frozen=True)
class Import:
    """One name that a statement imports: `module` is absolute; `level` as in ast.ImportFrom, 0 for absolute ones."""

    module: str
    level: int
    line: int


@dataclass(frozen=True)
class Module:
    """One file of the package; `name` is its import name, `floor` empty for the root's `__init__`."""

    name: str
    path: Path
    floor: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether the file is a folder's __init__.py."""
        return self.path.name == "__init__.py"

    @property
    def at_root(self) -> bool:
        """Whether the file lies in the root folder."""
        return self.name.count(".") < 2 and not (self.is_package and self.floor)


def folders(root: Path) -> list[Path]:
    """The root's folders that hold Python files of the package."""
    inside = (p for p in sorted(root.iterdir()) if p.is_dir() and p.name not in OUTSIDE and not p.name.startswith("."))
    return [p for p in inside if p.suffix != ".egg-info" and any(p.rglob("*.py"))]


def modules(root: Path) -> list[Module]:
    """Every Python file of the package: the root's own and those in its folders."""
    files = sorted(root.glob("*.py"))
    for folder in folders(root):
        files += sorted(folder.rglob("*.py"))
    return [_module(path, root) for path in files]


def _module(path: Path, root: Path) -> Module:
    parts = path.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return Module(".".join(("edgequant", *parts)), path, parts[0] if parts else "", tree)


def imports(module: Module) -> Iterator[Import]:
    """Every import of the file, inside functions too; `from a import b` counts as `a.b`, and `b` may be no module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, 0, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            yield from (Import(f"{base}.{alias.name}", node.level, node.lineno) for alias in node.names)


def _base(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    up = node.level - 1 if module.is_package else node.level
    parts = module.name.split(".")[: -up or None]
    return ".".join([*parts, *([node.module] if node.module else [])])


def floor_of(imported: str) -> str | None:
    """The floor that an absolute name lies on; None for other packages and for the names of the root's __init__."""
    parts = imported.split(".")
    return parts[1] if parts[0] == "edgequant" and len(parts) > 1 and parts[1] in FLOORS else None


def edges(found: list[Module]) -> dict[str, set[str]]:
    """Which module of the package imports which others; a package's own `__init__` counts as a module."""
    names = {module.name for module in found}
    graph: dict[str, set[str]] = {}
    for module in found:
        targets = (_longest(entry.module, names) for entry in imports(module))
        graph[module.name] = {target for target in targets if target and target != module.name}
    return graph


def _longest(imported: str, names: set[str]) -> str | None:
    """The module that holds an imported name: the longest prefix that is a module."""
    parts = imported.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in names), None)


def data_files(root: Path) -> list[Path]:
    """Every file of the package's folders that is no Python, relative to the root."""
    found = (p for folder in folders(root) for p in sorted(folder.rglob("*")) if p.is_file())
    return [p.relative_to(root) for p in found if p.suffix not in {".py", ".pyc"}]


def project(root: Path) -> dict[str, Any]:
    """pyproject.toml as a dictionary."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
