"""The light part works where the heavy stack cannot be imported."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "torch", "vllm", "deepspeed", "transformers", "peft", "datasets", "tokenizers")
REFUSE = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"{{name}} is not to be imported here", name=name)
sys.meta_path.insert(0, Refuse())
"""


def light(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REFUSE + code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


# Nothing but mathematics in torch. The others import these when a unit runs, which the test below shows.
NUMERICS = {f"pipeline.experiments.theorem.{name}" for name in ("draw", "losses", "networks", "steps")}

UNDERTOW = "from jobs.cli import main; main(sys.argv[1:])"


def test_the_hooks_do_refuse() -> None:
    assert "torch is not to be imported here" in light("import torch").stderr


@pytest.mark.slow
def test_every_module_of_the_pipeline_imports() -> None:
    modules = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in (ROOT / "pipeline").rglob("*.py")
    }
    assert {"pipeline.models.engines.vllm", *NUMERICS} <= modules
    named = sorted(modules - NUMERICS)
    done = light("import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", *named)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["plan", "configs/quickstart.yaml", "--root", "/nowhere"], ["--help"], ["run", "--help"], ["schema"]]
)
def test_the_command_works(arguments: list[str]) -> None:
    started = time.perf_counter()
    done = light(UNDERTOW, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert time.perf_counter() - started < 10  # 2 s alone on a core; the bench measures it


def test_the_status_needs_no_ray(tmp_path: Path) -> None:
    done = light(UNDERTOW, "status", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "no study has run" in done.stdout


@pytest.mark.slow
def test_bad_input_is_told_before_ray_is_needed(tmp_path: Path) -> None:
    for arguments in (["run", "none.yaml"], ["run", "configs/quickstart.yaml", "--root", f"{__file__}/below"]):
        done = light(UNDERTOW, *arguments)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_unit_tests_import_none_of_it_either() -> None:
    for file in (ROOT / "tests" / "unit").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & set(HEAVY), file
