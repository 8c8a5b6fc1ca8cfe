"""What every test may ask for: the pocket model, the foreign oracle, the demo's model, and where they come from.

Nothing heavy is imported here, so that a test that reads recorded numbers starts at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

POCKET = Path(__file__).parent / "pocket"


def pytest_configure() -> None:
    """No test reaches for a hub, and no library may try to, nor for this user's own settings: children inherit this."""
    os.environ["EDGEQUANT_CONFIG_DIR"] = os.devnull
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"


@pytest.fixture(scope="module")
def natives_importable() -> Iterator[None]:
    """The module's children find native.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        yield


@pytest.fixture(scope="session")
def pocket_folder() -> Path:
    """The checkpoint of the project's own pocket model."""
    return POCKET / "model"


@pytest.fixture(scope="session")
def pocket_items() -> Path:
    """The pocket model's own task items, one JSON object a line."""
    return POCKET / "items.jsonl"


@pytest.fixture(scope="session")
def oracle_folder() -> Path:
    """The folder of the 260K-parameter checkpoint that others trained, from EDGEQUANT_ORACLE_DIR."""
    named = os.environ.get("EDGEQUANT_ORACLE_DIR")
    if not named:
        leave_out("EDGEQUANT_ORACLE_DIR is not set", unless="EDGEQUANT_REQUIRE_ORACLE")
    if not Path(named).is_dir():
        pytest.fail(f"EDGEQUANT_ORACLE_DIR names no folder: {named}")
    return Path(named)


@pytest.fixture(scope="session")
def bench_folder() -> Path:
    """The folder of public benchmarks, a folder each, from EDGEQUANT_BENCH_DIR."""
    named = os.environ.get("EDGEQUANT_BENCH_DIR")
    if not named:
        leave_out("EDGEQUANT_BENCH_DIR is not set", unless="EDGEQUANT_REQUIRE_BENCH")
    if not Path(named).is_dir():
        pytest.fail(f"EDGEQUANT_BENCH_DIR names no folder: {named}")
    return Path(named)


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the demo's 135M-parameter model, made from the file that `make test` installs."""
    from edgequant.convert import demo
    from edgequant.convert.source import open_source

    if not find_spec(demo.PACKAGE):
        leave_out(f"{demo.PACKAGE} is not installed", unless="EDGEQUANT_REQUIRE_DEMO")
    return open_source("demo", workspace=tmp_path_factory.mktemp("demo")).path


def leave_out(reason: str, *, unless: str) -> NoReturn:
    """Skip the test, or fail it where the environment variable `unless` is 1, as CI sets it."""
    if os.environ.get(unless) == "1":
        pytest.fail(f"{reason}, and {unless}=1 asks for it")
    pytest.skip(reason)
