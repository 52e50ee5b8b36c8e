"""Whatever is wrong in a plan is told with file and line: at the key itself where its value cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.errors import FederationError
from federation.model.task import build_task
from federation.plan.plan import Plan, check_delta, load, parse
from federation.report.planned import plan_facts
from privacy.errors import PrivacyError
from tests.plans import TEXT, line_of

FILE = Path("plan.toml")
HEADER = re.compile(r"\[([\w.]+)\]")
LINE = re.compile(r"(\w+) *= *(.+?)(?:  +#.*)?")
NUMBER = re.compile(r"-?[\d.]+(e-?\d+)?")

ADAPTIVE = (
    TEXT.replace('unit = "record"', 'unit = "client"')
    .replace("clipping_norm = 1.0", "clipping_norm = 1.0\nclipping_quantile = 0.5\nclipping_bounds = [0.1, 10]\n"
             "clipping_rate = 0.2\nclipping_noise = 0.5")
    .replace("minimum = 3", "minimum = 100")
    .replace("dropouts = 1", "dropouts = 1\ntranscripts = false\nexcess_levels = 1")
)  # fmt: skip
REST = """
[personal]
steps = 5
learning_rate = 0.1
pull = 0.1
layers = ["linear"]

[purpose]
use = "a test"
controllers = ["A", "B"]

[base]
digest = "sha256:%s"
trained_on = "public texts"
""" % ("0" * 64)
FEATURES = """\
when = { date = "%Y-%m-%d", since = "2000-01-01", until = "2030-12-31", take = ["days", "month"] }
code = { hash = 64, missing = "category" }
note = { text = "words", width = 512 }
scan = { image = "hog", height = 64, width = 64, channels = 1, low = 0, high = 255, cell = 8, resize = true }
"""
SERIES = """\
kind = "series-regression"
patient = "mrn"
series = "stay"
time = "hour"
time_format = "%Y-%m-%d"
window = 16
stride = 4
horizon = 1
target_range = { low = 0, high = 5 }
"""


def series() -> str:
    """A plan of windows of rows."""
    text = TEXT.replace('kind = "tabular-classification"\n', SERIES).replace('classes = ["0", "1"]\n', "")
    text = text.replace('"logistic"', '"linear"').replace('unit = "record"', 'unit = "patient"')
    return re.sub(r"metrics = .*", 'metrics = ["mae"]\nepsilon = 0.5', text)


def survival() -> str:
    """A plan of a time until an event."""
    text = TEXT.replace('"tabular-classification"', '"survival"')
    text = text.replace('classes = ["0", "1"]', 'event = "died"\nevents = ["0", "1"]\nbins = [30, 90]')
    return re.sub(r"metrics = .*", 'metrics = ["c_index"]', text)


OWN = 'task = "no_such_module:task"\n' + TEXT[: TEXT.index("[task]")] + TEXT[TEXT.index("[cohort]") :]
KEPT = (
    TEXT.replace('"distributed"', '"site"').replace('"logistic"', '"mlp"')
    + '[personal]\nsteps = 5\nlearning_rate = 0.1\nlayers = ["2"]\nkept = 7\n'
)
PLANS = {
    "table": TEXT.replace("[cohort]", FEATURES + "[cohort]") + REST,
    "clients": ADAPTIVE,
    "series": series(),
    "survival": survival(),
}
ODD = {
    "type": "{ odd = 1 }",
    "less": "-7",
    "more": "1e99",
    "word": '"?!"',
    "none": "[]",
    "mixed": '[1, "a", []]',
}


def lines_of(text: str) -> list[tuple[int, str, str]]:
    """Line, dotted key and value of each key that has a line of its own."""
    table, found = "", []
    for number, line in enumerate(text.split("\n"), start=1):
        if header := HEADER.fullmatch(line.strip()):
            table = header[1]
        elif pair := LINE.fullmatch(line.strip()):
            found.append((number, f"{table}.{pair[1]}", pair[2]))
    return found


def told(text: str) -> str:
    """What is said of the plan; "" if nothing is."""
    try:
        parse(text, FILE)
    except (FederationError, PrivacyError) as error:
        return str(error)
    return ""


def with_line(text: str, number: int, line: str) -> str:
    lines = text.split("\n")
    lines[number - 1] = line
    return "\n".join(lines)


@pytest.mark.parametrize("name", PLANS)
def test_every_key_that_cannot_be_is_told_with_file_and_line(name: str) -> None:
    text = PLANS[name]
    assert told(text) == ""
    for number, key, _ in lines_of(text):
        last = key.rpartition(".")[2]
        for kind, value in ODD.items():
            said = told(with_line(text, number, f"{last} = {value}"))
            assert not said or re.match(r"plan\.toml:\d+ [\w.]+", said), (key, value, said)
            if kind == "type":
                assert said.startswith(f"plan.toml:{number} {key}"), (key, said)
        said = told(with_line(text, number, f"{text.split(chr(10))[number - 1]}\nqzqz = 1"))
        assert said.startswith(f"plan.toml:{number + 1} ") and "qzqz" in said, (key, said)
        said = told(with_line(text, number, ""))
        assert not said or re.match(r"plan\.toml(:\d+)? [\w.]+: is missing|plan\.toml:\d+ ", said), (
            key,
            said,
        )


@pytest.mark.parametrize("name", PLANS)
def test_every_part_of_a_feature_that_cannot_be_is_told_with_its_line(name: str) -> None:
    text = PLANS[name]
    rows = [(number, value) for number, key, value in lines_of(text) if key.startswith("task.features.")]
    for number, value in rows:
        line = text.split("\n")[number - 1]
        for part in re.findall(r"(\w+) = ", value):
            for odd in ODD.values():
                changed = re.sub(rf"\b{part} = (\[[^]]*\]|[^,}}]+)", f"{part} = {odd}", line)
                said = told(with_line(text, number, changed))
                assert not said or said.startswith(f"plan.toml:{number} task.features."), (changed, said)


def of_a_thousand(plan: Plan) -> None:
    check_delta(plan, 1000)


def facts(plan: Plan) -> object:
    return plan_facts(plan, 1)


@pytest.mark.parametrize(
    ("text", "asked", "place"),
    [
        (ADAPTIVE.replace("noise = 0.5", "noise = 0.01"), facts, "privacy.clipping_noise = 0.01"),
        (TEXT + '[personal]\nsteps = 5\nlearning_rate = 0.1\nlayers = ["x"]\n', build_task, "personal.layers = "),
        (KEPT, build_task, "personal.kept = 7"),
        (TEXT + f'[base]\ndigest = "sha256:{"0" * 64}"\ntrained_on = "texts"\n', build_task, "base"),
        (TEXT.replace("epsilon = 3.0", "epsilon = 1e-9"), facts, "privacy.epsilon = "),
        (TEXT.replace("1e-5", "1e-10") + "epsilon = 1e-9\n", facts, "evaluation.epsilon = 1e-09"),
        (TEXT.replace("delta = 1e-5", "delta = 0.01"), of_a_thousand, "privacy.delta = 0.01"),
        (TEXT.replace('"logistic"', '"no_such_module:make"'), build_task, 'task.model = "no_such_module:make"'),
        (OWN, build_task, "task = "),
    ],
    ids=["bits", "layers", "kept", "base", "epsilon", "evaluation", "delta", "model", "task"],
)  # fmt: skip
def test_what_is_found_later_is_told_with_its_line_too(
    tmp_path: Path, text: str, asked: Callable[[Plan], object], place: str
) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    plan = load(file)
    key = place.partition(" = ")[0]
    number = next((number for number, known, _ in reversed(lines_of(text)) if known.strip(".") == key), 0)
    number = number or 1 + text.split("\n").index(f"[{key}]")
    with pytest.raises((FederationError, PrivacyError)) as wrong:
        asked(plan)
    assert str(wrong.value).startswith(f"{file}:{number} {place}"), wrong.value


def test_where_a_plan_stands_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TEXT)
    plan, other = load(tmp_path / "plan.toml"), parse(TEXT)
    assert plan == other == Plan.from_canonical(plan.canonical()) and plan.digest == other.digest
    assert plan.place("privacy", "delta").endswith(f"plan.toml:{line_of('delta')} privacy.delta = 1e-05")
    assert Plan.from_canonical(plan.canonical()).place("privacy", "delta") == "privacy.delta = 1e-05"
