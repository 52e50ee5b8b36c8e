"""The digest of a task's code: it follows the files that run, and a plan can pin it."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federation.errors import CodeError, PlanError
from federation.model.code import code_digest, require_code
from federation.model.task import build_task
from federation.plan.plan import Plan, parse
from tests.plans import changed, plan_of

TASK = """
from torch import nn
from federation import Dataset, Task

task = Task("mine", model=lambda: nn.Linear(2, 2), loss=lambda o, y: (o[:, 0] - y) ** 2, data=lambda _: None)
"""
_numbers = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Makes a package that no process has imported; its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(**files: str) -> str:
        name = f"made_{os.getpid()}_{next(_numbers)}"
        made.append(name)
        for path, text in {"__init__.py": "", **files}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return name

    yield make
    for name in [*sys.modules]:
        if name.partition(".")[0] in made:
            del sys.modules[name]


_SEED = "seed = 7                                  # public"


def pinned(name: str, code: str | None) -> Plan:
    """A plan of the task in this package."""
    text = changed(_SEED, f'seed = 7\ncode = "{code}"' if code else "seed = 7")
    start, end = text.index("[task]"), text.index("[cohort]")
    return parse(f'task = "{name}.task:task"\n{text[:start]}{text[end:]}')


def test_the_digest_follows_every_file_and_its_name_and_nothing_that_python_keeps(
    package: Callable[..., str], tmp_path: Path
) -> None:
    base = {"task.py": TASK, "deep/more.py": "x = 1", "words.txt": "a b"}
    first = package(**base)
    digest = code_digest(f"{first}.task:task")
    assert digest.startswith("sha256:")
    for other in (
        {**base, "task.py": TASK + "\n"},
        {**base, "deep/more.py": "x = 2"},
        {**base, "words.txt": "a c"},
        {"task.py": TASK, "deep/more.py": "x = 1", "word.txt": "a b"},
        {"task.py": TASK, "deep/more.py": "x = 1"},
    ):
        assert code_digest(f"{package(**other)}.task:task") != digest
    same = package(**base, **{"__pycache__/task.cpython-312.pyc": "x", ".idea/me.xml": "x"})
    assert code_digest(f"{same}.task:task") == digest


def test_a_pinned_plan_takes_the_code_that_it_pins_and_no_other(package: Callable[..., str]) -> None:
    name = package(**{"task.py": TASK})
    digest = code_digest(f"{name}.task:task")
    assert build_task(pinned(name, digest)).name == "mine"
    other = "sha256:" + 64 * "0"
    with pytest.raises(
        CodeError, match=f"the code here is {digest}, the plan pins {other}; install"
    ) as raised:
        build_task(pinned(name, other))
    assert raised.value.exit_code == 2


def test_code_that_is_not_the_pinned_one_is_not_even_imported(package: Callable[..., str]) -> None:
    name = package(**{"task.py": "raise SystemExit('ran')"})
    with pytest.raises(CodeError, match="the plan pins"):
        build_task(pinned(name, "sha256:" + 64 * "0"))
    assert f"{name}.task" not in sys.modules


def test_the_digest_is_that_of_the_code_in_use_whatever_is_installed_meanwhile(
    package: Callable[..., str], tmp_path: Path
) -> None:
    name = package(**{"task.py": TASK})
    build_task(pinned(name, None))
    used = code_digest(f"{name}.task:task")
    (tmp_path / name / "task.py").write_text(TASK + "# newer\n")
    require_code(f"{name}.task:task", used)
    newer = package(**{"task.py": TASK + "# newer\n"})
    with pytest.raises(CodeError):
        require_code(f"{name}.task:task", code_digest(f"{newer}.task:task"))


def test_one_module_has_a_digest_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lone_task.py").write_text(TASK)
    assert code_digest("lone_task:task").startswith("sha256:")


def test_code_that_is_not_there_is_told_with_the_way_out() -> None:
    with pytest.raises(CodeError, match='there is no module "no_such_study"; install it'):
        build_task(pinned("no_such_study", None))
    with pytest.raises(CodeError, match='there is no module "no_such_study"; install it'):
        build_task(pinned("no_such_study", "sha256:" + 64 * "0"))


def test_our_own_models_cannot_be_pinned() -> None:
    text = changed(_SEED, f'seed = 7\ncode = "sha256:{64 * "0"}"')
    with pytest.raises(PlanError, match=r"federation\.code.*runs no code but ours; remove it"):
        parse(text)


def test_a_plan_that_pins_nothing_keeps_its_digest_and_one_that_does_has_another() -> None:
    text = changed(_SEED, f'seed = 7\ncode = "sha256:{64 * "0"}"').replace('"logistic"', '"mine.model:make"')
    bare = parse(changed('"logistic"', '"mine.model:make"'))
    assert b"code" not in bare.canonical()
    assert parse(text).digest != bare.digest
    assert Plan.from_canonical(parse(text).canonical()) == parse(text)


def test_no_file_is_the_plan_of_a_rehearsal() -> None:
    """So no folder of a rehearsal passes for one of a run: whatever reads a plan's file refuses it."""
    dry = plan_of().rehearsal()
    assert dry.rehearsed() == plan_of()
    assert dry.rehearsed().digest == plan_of().digest != dry.digest
    assert Plan.from_canonical(dry.canonical()) == dry
    with pytest.raises(PlanError, match=r"federation\.rehearsal: is for rehearsals, which are no runs"):
        parse(dry.to_toml())
    with pytest.raises(PlanError, match="rehearsal"):
        parse(changed(_SEED, "seed = 7\nrehearsal = false"))
