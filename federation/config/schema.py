"""Tables of a TOML file as frozen pydantic models; each mistake in a file becomes one readable line.

A table finds its own mistakes, since it alone knows its fields: an unknown key (and the nearest known one), a
missing key (and an example), a value that does not fit. It raises a `Mistake` with a key relative to itself; the
table around it puts its own name before; `validate` adds file, line and value.
Every field carries an example, written as TOML: `Field(examples=["1e-5"])`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypedDict, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from federation.config.toml import Document
from federation.config.words import meant_by
from federation.errors import InputError, located
from privacy.errors import UnsafeParameters


def _whole_numbers_as_text(values: Any) -> Any:
    """A list of texts in which somebody left out the quotes around whole numbers. True and False stay."""
    if not isinstance(values, list | tuple):
        return values
    return tuple(str(value) if type(value) is int else value for value in values)


Texts = Annotated[tuple[str, ...], BeforeValidator(_whole_numbers_as_text), Strict(False)]

_MAX_SHOWN = 60  # characters of a value
_MAX_LISTED = 15  # valid names
_SLIP = 0.9  # as alike as "clients" and "client"


@dataclass
class Mistake(ValueError):
    """What is wrong at a key and what to do. `unsafe`: a privacy refusal rather than a slip of the pen."""

    message: str
    hint: str = ""
    key: tuple[str, ...] = ()
    unsafe: bool = False
    unknown: bool = False

    def under(self, *names: str) -> Mistake:
        """The same, seen from the table around."""
        return Mistake(self.message, self.hint, (*names, *self.key), self.unsafe, self.unknown)


class Table(BaseModel):
    """A table of a plan or site file: frozen, strict, no unknown keys."""

    refusal: ClassVar[type[InputError]] = InputError  # of a whole file, see `validate`
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, cls):
            return handler(data)
        if not isinstance(data, Mapping):
            raise Mistake("must be a table", f"write its keys as {' = ..., '.join(cls.model_fields)} = ...")
        for name in data:
            if name not in cls.model_fields:
                raise Mistake("unknown key", _way_out(name, cls.model_fields), (name,), unknown=True)
        try:
            return handler(data)
        except ValidationError as error:
            mistakes = [cls._mistake(detail, data) for detail in error.errors()]
            raise min(mistakes, key=lambda mistake: not mistake.unknown) from None

    @classmethod
    def _mistake(cls, detail: ErrorDetails, data: Mapping[str, Any]) -> Mistake:
        if not detail["loc"]:
            return _own(detail) or Mistake(detail["msg"])
        name, *rest = detail["loc"]
        field = cls.model_fields[str(name)]
        inner = _own(detail) or Mistake(*_explanation(detail, str(name), field))
        return inner.under(str(name), *_entry(data.get(str(name)), rest))


_T = TypeVar("_T", bound=Table)


@dataclass(frozen=True)
class Written:
    """Where a table stands: any equals any other, since a place is no part of what a table says."""

    document: Document | None = dataclasses.field(default=None, compare=False, repr=False)

    def where(self, model: type[Table], *key: str) -> Where:
        """For an error: file, line and value of a key, or of the innermost table around it that is there.

        Of text that is no file there is no line: nobody can look it up.
        """
        document = self.document or Document("", {})
        return {
            "path": document.path,
            "line": None if document.path is None else document.line_of(key),
            "key": _dotted(key),
            "value": _shown(model, document, key),
        }


class Where(TypedDict):
    """What an InputError says of the place of a mistake."""

    path: Path | None
    line: int | None
    key: str
    value: str


def validate(model: type[_T], document: Document) -> _T:
    """The document as a model, or its most telling mistake as `model.refusal` (UnsafeParameters where `unsafe`)."""
    try:
        return model.model_validate(document.data, context=document)
    except ValidationError as error:
        mistake = _own(error.errors()[0])
        if mistake is None:
            raise
    line, key = document.line_of(mistake.key), _dotted(mistake.key)
    value, hint = _shown(model, document, mistake.key), _home(model, mistake) or mistake.hint
    if mistake.unsafe:
        place = located(document.path, line, key, value)
        raise UnsafeParameters(f"{place}: {mistake.message}", hint=hint)
    raise model.refusal(mistake.message, hint=hint, path=document.path, line=line, key=key, value=value)


def nearest(name: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    """A hint: the valid name that was probably meant, or all valid names.

    >>> nearest("epsilom", ["epsilon", "delta"]), nearest("x", ["epsilon", "delta"])
    ('did you mean "epsilon"?', 'valid here: epsilon, delta')
    """
    close = get_close_matches(name.lower(), list(valid), n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"valid here: {', '.join(list(valid)[:_MAX_LISTED])}{', ...' * (len(valid) > _MAX_LISTED)}"


def nearest_of(names: Sequence[str], valid: Sequence[str]) -> str:
    """The same for several names at once: one suggestion for each that is like a valid name.

    >>> nearest_of(["agee", "thalachh"], ["age", "thalach"]), nearest_of(["agee", "x"], ["age", "thalach"])
    ('did you mean "age" for "agee", "thalach" for "thalachh"?', 'did you mean "age" for "agee"?')
    """
    close = {name: get_close_matches(name.lower(), valid, n=1) for name in names[:_MAX_LISTED]}
    told = [f'"{found[0]}" for "{name}"' for name, found in close.items() if found]
    if len(names) == 1 or not told:
        return nearest(names[0], valid)
    return f"did you mean {', '.join(told)}?"


def _way_out(name: str, valid: Mapping[str, object]) -> str:
    """For an unknown key: a valid one that is a letter away, or how this says what the name means elsewhere."""
    is_slip = bool(get_close_matches(name.lower(), list(valid), n=1, cutoff=_SLIP))
    return nearest(name, valid) if is_slip else meant_by(name) or nearest(name, valid)


def missing(name: str, example: str) -> Mistake:
    """The mistake of a file that leaves out a key, with an example of its line."""
    return Mistake("is missing", f"add a line such as: {example}", (name,))


def _own(detail: ErrorDetails) -> Mistake | None:
    """The Mistake that one of our validators raised, if it was one of ours."""
    error = detail.get("ctx", {}).get("error")
    return error if isinstance(error, Mistake) else None


def _entry(value: object, rest: Sequence[str | int]) -> tuple[str, ...]:
    """The name of an entry that pydantic counts by position; the rest of its path is not in the file."""
    if isinstance(value, Mapping) and rest and isinstance(rest[0], int):
        return (str(list(value)[rest[0]]),)
    if isinstance(value, list) and rest and isinstance(rest[0], int) and isinstance(value[rest[0]], Mapping):
        return (str(rest[0] + 1),)
    return ()


def _explanation(detail: ErrorDetails, name: str, field: FieldInfo) -> tuple[str, str]:
    """What is wrong and what to do, from pydantic's kind of error."""
    kind, context = detail["type"], detail.get("ctx", {})
    example = str((field.examples or ["..."])[0])
    if not re.match(r"\[\w", example):  # a table's header stands by itself
        example = f"{name} = {example}"
    if kind == "missing":
        return "is missing", f"add a line such as: {example}"
    if kind == "literal_error":
        choices = str(context["expected"]).replace("'", '"')
        return f"must be {choices}", f"write for example: {example}"
    messages = {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "finite_number": "must be a finite number",
        "string_type": "must be text in quotes",
        "list_type": "must be a list in brackets",
        "tuple_type": "must be a list in brackets",
        "greater_than": f"must be above {context.get('gt', 0):g}",
        "greater_than_equal": f"must be at least {context.get('ge', 0):g}",
        "less_than": f"must be below {context.get('lt', 0):g}",
        "less_than_equal": f"must be at most {context.get('le', 0):g}",
        "too_short": f"must have at least {context.get('min_length')} entries",
        "string_too_short": "must not be empty",
        "string_pattern_mismatch": "is not of the right form",
    }
    return messages.get(kind, detail["msg"].lower()), f"write for example: {example}"


def _home(model: type[Table], mistake: Mistake) -> str:
    """A hint for a known key in the wrong table, unless this table says the same in a word of its own."""
    if not mistake.unknown or f"write {mistake.key[0]}." in mistake.hint:
        return ""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Table) and mistake.key[-1] in kind.model_fields:
            return f'"{mistake.key[-1]}" belongs in [{name}]'
    return ""


def _shown(model: type[Table], document: Document, key: Sequence[str]) -> str:
    """The value at a key as TOML, or "" if there is none, it is a table, or its table keeps it private."""
    value = document.at(key)
    table = model.model_fields.get(key[0]) if key else None
    if value is None or isinstance(value, Mapping) or (table is not None and not table.repr):
        return ""
    text = _toml(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _dotted(key: Sequence[str]) -> str:
    """A key as TOML writes it, on one line whatever it is."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part) for part in key)


def _toml(value: object) -> str:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    # JSON escapes what is below a space, but not all that turns a line around or steers a terminal.
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)
