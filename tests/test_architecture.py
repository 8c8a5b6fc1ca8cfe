"""The rules of the layout, kept by machine; `test_guard_sees` plants a breach of each, and its guard must speak."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layout import FLOORS, ROOT, Module, data_files, edges, floor_of, folders, imports, modules, project

UNTELLING = {"utils", "common", "base", "helpers", "core", "manager"}
#: these would hide the library or the standard module of the same name
SHADOWING = {"onnx", "onnxruntime", "statistics"}
#: what a distribution is imported as, where that is not its name
IMPORTED_AS = {"llama-cpp-python": "llama-cpp", "pyyaml": "yaml"}
HEAVY = {"gguf", "llama_cpp", "numpy", "onnx", "onnxruntime", "optimum", "plotly", "torch", "transformers"}
MODULES = modules(ROOT)


def lies_on_a_floor(module: Module) -> list[str]:
    known = module.floor in FLOORS or (module.name == "edgequant" and module.is_package)
    return [] if known else [f"{module.name} is on no floor of the design"]


def imports_point_down(module: Module) -> list[str]:
    height = FLOORS.index(module.floor) if module.floor in FLOORS else -1
    named = ((entry, floor_of(entry.module)) for entry in imports(module))
    return [
        f"{module.path.name}:{entry.line}: {module.floor or 'the root'} imports upwards from {floor}"
        for entry, floor in named
        if floor is not None and FLOORS.index(floor) > height
    ]


def spells_imports_the_house_way(module: Module) -> list[str]:
    """Relative inside folders, absolute in the root's modules above, and never `import convert`, a second copy."""
    wrong = []
    for entry in imports(module):
        top = entry.module.split(".")[0]
        if entry.level == 0 and top in FLOORS:
            wrong.append(f"{module.path.name}:{entry.line}: import {entry.module} as edgequant.{entry.module}")
        if entry.level == 0 and top == "edgequant" and not module.at_root:
            wrong.append(f"{module.path.name}:{entry.line}: import {entry.module} relatively")
        if entry.level and module.floor in {"cli", "pipeline", "progress"}:
            wrong.append(f"{module.path.name}:{entry.line}: import {entry.module} absolutely")
    return wrong


def leaves_click_to_cli(module: Module) -> list[str]:
    elsewhere = module.floor not in ("commands", "cli")
    used = (entry for entry in imports(module) if entry.module.split(".")[0] == "click" and elsewhere)
    return [f"{module.path.name}:{entry.line}: click outside cli.py and commands/" for entry in used]


def never_prints(module: Module) -> list[str]:
    calls = (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    names = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print")
    return [f"{module.path.name}:{call.lineno}: print" for call in names]


def has_a_telling_name(module: Module) -> list[str]:
    return [f"{part} in {module.name}" for part in module.name.split(".") if part in UNTELLING | SHADOWING]


def needs_only_what_is_declared(module: Module) -> list[str]:
    names = (re.split(r"[^\w-]", requirement)[0].lower() for requirement in _requirements())
    declared = {IMPORTED_AS.get(name, name) for name in names}
    tops = {(entry.module.split(".")[0], entry.line) for entry in imports(module) if entry.level == 0}
    foreign = {(top, line) for top, line in tops if top not in sys.stdlib_module_names and top != "edgequant"}
    return [
        f"{module.path.name}:{line}: {top} is in no dependency list of pyproject.toml"
        for top, line in sorted(foreign)
        if top.replace("_", "-") not in declared and top not in FLOORS
    ]


def _requirements() -> list[str]:
    table = project(ROOT)["project"]
    extras = table["optional-dependencies"]
    return [*table["dependencies"], *(r for name in extras if name != "dev" for r in extras[name])]


GUARDS: tuple[Callable[[Module], list[str]], ...] = (
    lies_on_a_floor,
    imports_point_down,
    spells_imports_the_house_way,
    leaves_click_to_cli,
    never_prints,
    has_a_telling_name,
    needs_only_what_is_declared,
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_module(guard: Callable[[Module], list[str]], module: Module) -> None:
    assert guard(module) == []


PLANTED = (
    ("lies_on_a_floor", "basement/a.py", "x = 1"),
    ("lies_on_a_floor", "stray.py", "x = 1"),
    ("imports_point_down", "convert/a.py", "from ..runtimes.session import load"),
    ("imports_point_down", "convert/a.py", "from ..runtimes import session"),
    ("imports_point_down", "convert/a.py", "from .. import runtimes"),
    ("imports_point_down", "convert/a.py", "import edgequant.report.table"),
    ("imports_point_down", "convert/deep/a.py", "from ...profiles import store"),
    ("imports_point_down", "convert/__init__.py", "from ..accuracy import tasks"),
    ("imports_point_down", "convert/a.py", "def f():\n    from edgequant import pipeline"),
    ("imports_point_down", "child.py", "from edgequant.convert.formats import FORMATS"),
    ("imports_point_down", "child.py", "from .convert import formats"),
    ("imports_point_down", "pipeline.py", "from edgequant.cli import main"),
    ("imports_point_down", "__init__.py", "from . import child"),
    ("spells_imports_the_house_way", "report/a.py", "from convert import formats"),
    ("spells_imports_the_house_way", "cli.py", "import convert.formats"),
    ("spells_imports_the_house_way", "report/a.py", "from edgequant.convert import formats"),
    ("spells_imports_the_house_way", "report/a.py", "from edgequant import Error"),
    ("spells_imports_the_house_way", "pipeline.py", "from .convert import formats"),
    ("leaves_click_to_cli", "report/a.py", "import click"),
    ("leaves_click_to_cli", "pipeline.py", "from click.testing import CliRunner"),
    ("never_prints", "report/a.py", "def f():\n    print(1)"),
    ("never_prints", "cli.py", "print(1)"),
    ("has_a_telling_name", "convert/utils.py", "x = 1"),
    ("has_a_telling_name", "convert/onnx.py", "x = 1"),
    ("has_a_telling_name", "convert/core/a.py", "x = 1"),
    ("needs_only_what_is_declared", "convert/a.py", "def f():\n    import pandas.io"),
    ("needs_only_what_is_declared", "convert/a.py", "from scipy import stats"),
)
INNOCENT = (
    ("convert/a.py", "from .. import Error, child\nfrom ..child import run\nfrom .b import c\nfrom . import b"),
    ("convert/deep/a.py", "from ... import Error\nfrom .. import b\nfrom ..b import c"),
    ("child.py", "import importlib\nfrom . import Error"),
    ("report/a.py", "def f():\n    import llama_cpp\n    from huggingface_hub import snapshot_download"),
    ("cli.py", "import click\nfrom edgequant import Error, pipeline\nclick.echo('print(1)')"),
)


def plant(root: Path, path: str, source: str) -> list[Module]:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(source, encoding="utf-8")
    return modules(root)


@pytest.mark.parametrize(("guard", "path", "source"), PLANTED)
def test_guard_sees(guard: str, path: str, source: str, tmp_path: Path) -> None:
    (module,) = plant(tmp_path, path, source)
    assert guard in {g.__name__ for g in GUARDS if g(module)}


@pytest.mark.parametrize(("path", "source"), INNOCENT)
def test_guards_leave_in_peace(path: str, source: str, tmp_path: Path) -> None:
    (module,) = plant(tmp_path, path, source)
    assert [message for guard in GUARDS for message in guard(module)] == []


def circle(found: list[Module]) -> list[str]:
    """The modules of one circle of imports, the first named again at the end; empty where there is none."""
    try:
        graphlib.TopologicalSorter(edges(found)).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_circles() -> None:
    assert circle(MODULES) == []


def test_a_circle_is_seen(tmp_path: Path) -> None:
    plant(tmp_path, "convert/a.py", "from .b import x")
    assert circle(plant(tmp_path, "convert/b.py", "x = 1")) == []
    found = plant(tmp_path, "convert/b.py", "def f():\n    from . import a")
    assert set(circle(found)) == {"edgequant.convert.a", "edgequant.convert.b"}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_tests_import_the_package_by_its_name(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named = [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not {name.split(".")[0] for name in named} & set(FLOORS)


def heavy_after(statement: str, *, beside: Path | None = None) -> set[str]:
    """The heavy libraries that a fresh interpreter holds after `statement`; `beside` holds another `edgequant`."""
    code = f"import sys\n{statement}\nsys.stderr.write(' '.join(sys.modules))"
    env = os.environ | ({"PYTHONPATH": str(beside)} if beside else {})
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=env, cwd=beside, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)
    return HEAVY & set(done.stderr.split())


def test_importing_the_command_is_light() -> None:
    assert heavy_after("import edgequant.cli") == set()


def test_help_is_light() -> None:
    assert heavy_after("from edgequant.cli import main\nmain(['--help'], standalone_mode=False)") == set()


def test_importing_any_module_is_light() -> None:
    assert heavy_after("\n".join(f"import {module.name}" for module in MODULES)) == set()


def test_a_heavy_import_is_seen(tmp_path: Path) -> None:
    plant(tmp_path / "edgequant", "__init__.py", "")
    plant(tmp_path / "edgequant", "cli.py", "import edgequant.pipeline")
    plant(tmp_path / "edgequant", "pipeline.py", "import numpy")
    assert heavy_after("import edgequant.cli", beside=tmp_path) == {"numpy"}


def listed_nowhere(root: Path, setuptools: dict[str, list[str]]) -> set[str]:
    """Modules that pyproject.toml would leave out of the wheel, and names that it lists without a file."""
    found = modules(root)
    inside = {module.name for module in found if module.is_package and module.floor}
    lost = {str(folder) for folder in folders(root) if not (folder / "__init__.py").exists()}
    at_root = {module.name for module in found if module.at_root and not module.is_package}
    return lost | (inside | at_root) ^ {*setuptools["packages"], *setuptools["py-modules"]}


def test_every_module_is_listed() -> None:
    assert listed_nowhere(ROOT, project(ROOT)["tool"]["setuptools"]) == set()


def test_a_module_left_out_is_seen(tmp_path: Path) -> None:
    plant(tmp_path, "convert/__init__.py", "")
    plant(tmp_path, "report/table.py", "")
    plant(tmp_path, "cli.py", "")
    listed = {"packages": ["edgequant.tune"], "py-modules": []}
    expected = {"edgequant.convert", "edgequant.cli", "edgequant.tune", str(tmp_path / "report")}
    assert listed_nowhere(tmp_path, listed) == expected


def test_types_are_checked_wherever_there_is_code() -> None:
    tools = project(ROOT)["tool"]
    outermost = [name for name in tools["setuptools"]["packages"] if name.count(".") == 1]
    assert sorted(tools["mypy"]["packages"]) == sorted(outermost)
    assert sorted(tools["mypy"]["modules"]) == sorted(["edgequant", *tools["setuptools"]["py-modules"]])


@pytest.mark.parametrize("path", data_files(ROOT), ids=str)
def test_data_is_shipped(path: Path) -> None:
    globs = project(ROOT)["tool"]["setuptools"]["package-data"]
    packages = ((folder, ".".join(("edgequant", *folder.parts))) for folder in path.parents if folder.parts)
    shipped = {p for folder, name in packages for pattern in globs.get(name, ()) for p in (ROOT / folder).glob(pattern)}
    assert ROOT / path in shipped
