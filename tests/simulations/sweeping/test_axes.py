"""What `--sweep` is given: names of a plan's numbers, and values, each mistake one line."""

from __future__ import annotations

import pytest

from federation.cli import checking
from federation.config.tables import Rules
from federation.errors import InputError
from simulations.sweeping.axes import KEYS, axes_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("rounds=50,100,200", (50, 100, 200)),
        ("rounds=1e2", (100,)),
        ("rounds=1:10:4", (1, 4, 7, 10)),
        ("sites=3:5:5", (3, 4, 5)),
        ("sample_rate=.05:.5:10", (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)),
        ("training.sample_rate= .1 , .2", (0.1, 0.2)),
        ("unit=record,client", ("record", "client")),
        ("epsilon=1,2:3:2,1", (1.0, 2.0, 3.0)),
    ],
)
def test_values_are_a_list_or_evenly_spaced(text: str, values: tuple[object, ...]) -> None:
    (axis,) = axes_of([text])
    assert axis.values == values
    assert all(type(found) is type(value) for found, value in zip(axis.values, values, strict=True))


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["round=5"], '--sweep round: unknown key; did you mean "rounds"?'),
        (["privacy.epsilom=5"], 'did you mean "epsilon"?'),
        (["cohort.weights=uniform"], "unknown key; valid here: rounds, "),
        (["rounds"], "--sweep rounds: has no values; write for example: --sweep rounds=1,2,3"),
        (["rounds="], "has no values"),
        (["rounds=1,,2"], "has no values"),
        (["rounds=1.5"], "rounds=1.5: cannot be read; write whole numbers"),
        (["epsilon=1:2"], "write numbers: epsilon=1,2,3 or epsilon=LOW:HIGH:COUNT"),
        (["epsilon=1:2:0"], "cannot be read"),
        (["epsilon=1:2:1e9"], "epsilon=1:2:1e9: makes 1,000,000,000 points; at most 10,000; sweep fewer"),
        (["epsilon=nan"], "cannot be read"),
        (["epsilon=1e999"], "cannot be read"),
        (["rounds=inf"], "cannot be read"),
        (["=3"], "unknown key"),
        (["rounds=1", "federation.rounds=2"], "--sweep rounds: is there twice"),
        (["epsilon=1", "noise_multiplier=1"], "cannot stand beside noise_multiplier"),
        (["rounds=1:5000:5000", "sites=3,4,5"], "makes 15,000 points; at most 10,000"),
    ],
)
def test_a_mistake_is_one_line(texts: list[str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        axes_of(texts)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_key_is_one_of_a_plan_and_help_names_them_all() -> None:
    for name, key in KEYS.items():
        assert name in checking._KEYS
        if key.place:
            table, field = key.path
            kind = Rules.model_fields[table].annotation
            assert field in getattr(kind, "model_fields", {})
