"""A text becomes the words in it: by a public rule, of one cell, the same everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer

from federation.errors import PlanError
from federation.plan.columns.features import Words
from federation.plan.plan import parse
from tests.plans import TEXT

NOTE = Words(name="note", text="words", width=256)


@given(st.text())
def test_a_text_is_one_long_or_has_no_words(text: str) -> None:
    length = math.sqrt(sum(value**2 for value in NOTE.places(text).values()))
    assert length == pytest.approx(1.0) or not NOTE.places(text)


def test_what_is_the_same_to_a_reader_is_the_same() -> None:
    assert NOTE.places("Pain in the knee.") == NOTE.places("knee: THE pain, in")
    assert NOTE.places("ﬁne") == NOTE.places("fine")
    assert NOTE.places("pain") != NOTE.places("fever")


def test_likeness_of_texts_is_that_of_another_hashing() -> None:
    """Both are random projections of the same counts, so products of texts agree but for what falls together."""
    texts = [
        f"{a} {b} {c}" for a in ("pain", "fever") for b in ("left", "right") for c in ("acute", "old", "mild")
    ]
    wide = Words(name="note", text="words", width=1 << 16)
    ours = np.array([[wide.places(text).get(at, 0.0) for at in range(1 << 16)] for text in texts])
    theirs = HashingVectorizer(n_features=1 << 16).transform(texts).toarray()
    assert np.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-6)


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ('{ text = "letters", width = 8 }', 'text = "letters": must be "words" or "encoder"'),
        ('{ text = "words" }', "width"),
        ('{ text = "words", width = 1 }', "width"),
        ('{ text = "words", width = 8, low = 0 }', "low"),
    ],
)
def test_a_wrong_text_is_told(feature: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        parse(TEXT.replace("age = { low = 20, high = 90 }", f"age = {feature}"))


def test_a_text_is_not_crossed() -> None:
    text = TEXT.replace("age = { low = 20, high = 90 }", 'age = { text = "words", width = 8 }')
    with pytest.raises(PlanError, match="is a whole"):
        parse(text.replace("[task.features]\n", 'cross = [["age", "cp"]]\n[task.features]\n'))
