"""What a plan says that it is for: part of the digest, and no words that could pass for the program's own."""

from __future__ import annotations

import pytest

from federation.config.purpose import TITLES, Purpose, lines
from federation.errors import PlanError
from federation.plan.plan import Plan, parse
from tests.plans import TEXT

WORDS = 'use = "find heart disease at admission"\ncontrollers = ["St. Mary: joint", "Bank: processor"]\n'
MADE_UP = "x" * 1001


def stated(words: str) -> str:
    return f"{TEXT}\n[purpose]\n{words}"


def test_a_plan_without_one_keeps_its_digest_and_each_word_of_it_is_in_the_digest() -> None:
    plain, said = parse(TEXT), parse(stated(WORDS))
    assert b"purpose" not in plain.canonical()
    other = parse(stated(WORDS.replace("admission", "discharge")))
    assert len({plan.digest for plan in (plain, said, other)}) == 3


def test_a_paragraph_alone_is_a_list_of_one() -> None:
    alone, listed = (parse(stated(f"contact = {text}\n")) for text in ('"a@b.org"', '["a@b.org"]'))
    assert alone.digest == listed.digest


def test_it_survives_the_file_and_the_network() -> None:
    plan = parse(stated(WORDS))
    assert parse(plan.to_toml()).digest == plan.digest
    assert Plan.from_canonical(plan.canonical()).purpose == plan.purpose


def test_its_lines_are_in_the_order_of_documents() -> None:
    purpose = Purpose(contact=("c",), controllers=("a", "b"), use=("i",))
    told = [("intended purpose", "i"), ("controllers and their roles", "a · b"), ("contact", "c")]
    assert list(purpose.lines()) == list(lines(purpose.to_json())) == told
    assert list(TITLES) == list(Purpose.model_fields)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "purpose: says nothing"),
        ('use = ""', "must be 1 to 1000 characters"),
        (f'use = "{MADE_UP}"', "must be 1 to 1000 characters"),
        ('use = "to heal\\nbudget  ok"', "line breaks"),
        ('use = "to heal\\u001b[2J"', "not printed"),
        ('use = "to \\u202eheal"', "not printed"),
        ("use = 7", "purpose.use"),
        ("recipients = " + str(["x"] * 21).replace("'", '"'), "more than 20 paragraphs"),
        ('uses = "to heal"', 'did you mean "use"'),
    ],
    ids=["nothing", "empty", "long", "line break", "escape", "right to left", "number", "many", "misspelt"],
)
def test_what_is_no_purpose_is_refused_by_name(words: str, told: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse(stated(words))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
