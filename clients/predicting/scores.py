"""Scores of rows by a run's model, written as CSV while they are made: one line a row, and no cell of the input.

A score is made of the row's own cells. Of the people in training it says no more than the params do, which the run
has paid for; of the row's own person it says what the cells say, and no epsilon covers that.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.data.encoding.wide import require_encoders
from clients.data.load import read_file
from clients.data.sources.reading import examined
from clients.predicting.adding import Adding
from clients.predicting.chunks import Chunk, chunks
from clients.predicting.figures import figures_of, has_classes, names_of
from clients.predicting.series import windows_of
from clients.rules.origin import Origin
from federation.errors import InputError, TaskError, UnusableFile
from federation.files import refuse_existing
from federation.model.params import Layout
from federation.plan.series.tasks import Series
from federation.plan.tasks import Classification
from federation.report.said.finished import Finished, adds_up

RELEASE = (
    "each score is made of a person's own cells, which no epsilon covers: to give scores away is a release of its "
    "own, also and above all of records that were trained on. Of everybody else in training scores say no more "
    "than the params do"
)
ALL = "all"
_BATCH = 16384
_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """`explained`: how many of the largest contributions stand beside a score, "all", or None for none.

    `copied`: a column whose cells are copied to the file, to tell rows by.
    """

    explained: int | str | None = None
    copied: str | None = None


def model_of(run: Finished) -> nn.Module:
    """The run's model, with its params."""
    model = run.task.model()
    Layout.of(model).load(model, run.params)
    return model.eval()


def predict(
    run: Finished, place: Origin, out: Path, asked: Asked, progress: Callable[[int, int], None]
) -> int:
    """Score every row of a source into a new file, readable by its owner only; how many there were.

    DataError for cells that the plan does not take: then there is no file. UnusableFile if it is there already.
    """
    refuse_existing(out)
    explains = _explaining(run, asked)
    if run.table is None and asked.copied is not None:
        raise InputError("--id is for tables", hint="rows of your own task are told by their number")
    total, parts = _rows(run, place, asked)
    writer = _Writer(run, explains, asked)
    beside = out.with_name(out.name + ".new")
    done = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            for chunk in parts:
                if not done:
                    lines.writerow(writer.header(chunk))
                lines.writerows(writer.lines(chunk))
                done += len(chunk.lines)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, out)  # and no file that came there meanwhile is replaced
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another", path=out) from None
    finally:
        beside.unlink(missing_ok=True)
    return done


def _explaining(run: Finished, asked: Asked) -> Adding | None:
    if asked.explained is None:
        return None
    if run.table is None or not adds_up(run.plan):
        hint = "leave --reasons out; federation explain RUN says what can be said"
        reason = "no row can be split up: the model is no sum over its features"
        raise InputError(reason, hint=hint)
    return Adding.of(run.table, run.params.double().numpy())


def _rows(run: Finished, place: Origin, asked: Asked) -> tuple[int, Iterator[Chunk]]:
    """How many rows there are, and the rows."""
    if run.table is not None:
        require_encoders(run.table.features, place)
        table = examined(place)
        if isinstance(run.table, Series):
            return windows_of(table, run.table, asked.copied)
        return len(table), chunks(table, run.table, asked.copied)
    try:
        features = read_file(place, run.plan, run.task).data.features.numpy()
    except TaskError as error:
        error.hint += (
            "; its data function reads labels, too: where there are none yet, put any in their place"
        )
        raise
    starts = range(0, len(features), _BATCH)
    parts = (
        Chunk(range(at + 1, min(at + _BATCH, len(features)) + 1), features[at : at + _BATCH]) for at in starts
    )
    return len(features), parts


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Tensor, name: str) -> Tensor:
    """What the model makes of rows, (n, k). TaskError if the user's code fails; its words may quote a record."""
    try:
        found: Any = model(inputs)
    except Exception as error:
        raise TaskError(
            f"{name}: the model failed with {type(error).__name__}", hint="see --debug"
        ) from error
    if not isinstance(found, Tensor) or len(found) != len(inputs):
        raise TaskError(f"{name}: the model does not give each row an output", hint="correct the model")
    return found.reshape(len(found), -1)


class _Writer:
    """Makes the lines."""

    def __init__(self, run: Finished, explains: Adding | None, asked: Asked) -> None:
        self._run, self._model, self._explains, self._asked = run, model_of(run), explains, asked
        self._is_classes, table = has_classes(run), run.table
        self._classes = table.classes if isinstance(table, Classification) else None

    def header(self, chunk: Chunk) -> list[str]:
        """The names of the columns."""
        head = ["row"] + (["id"] if chunk.ids is not None else [])
        width = self._outputs(chunk.inputs[:1]).shape[1]
        head += ["predicted"] if self._is_classes else []
        head += names_of(self._run, width)
        if self._explains is None:
            return head
        head += self._heads(self._explains)
        if self._asked.explained == ALL:
            return head + [f"adds {name}" for name in self._explains.names]
        return [*head, *(word for at in range(1, self._top + 1) for word in (f"reason {at}", f"adds {at}"))]

    @staticmethod
    def _heads(explains: Adding) -> list[str]:
        """Of a time until an event each bin has an intercept, and what features add is alike in all."""
        if len(explains.outcomes) > 1:
            return ["explained", "intercept"]
        many = len(explains.intercepts) > 1
        return [f"intercept of {name}" for name in explains.intercepts] if many else ["intercept"]

    def lines(self, chunk: Chunk) -> Iterator[list[object]]:
        """One for each row."""
        shown = figures_of(self._run, self._outputs(chunk.inputs)).numpy()
        answers = self._answers(shown) if self._is_classes else None
        added = None if self._explains is None else self._explains.contributions(chunk.inputs)
        for at, line in enumerate(chunk.lines):
            words: list[object] = [line]
            words += [] if chunk.ids is None else [chunk.ids[at]]
            words += [] if answers is None else [self._name(int(answers[at]))]
            words += [f"{value:.9g}" for value in shown[at].tolist()]
            if added is not None and self._explains is not None:
                words += self._reasons(self._explains, added[at], 0 if answers is None else int(answers[at]))
            yield words

    @property
    def _top(self) -> int:
        names = () if self._explains is None else self._explains.names
        return min(int(self._asked.explained or 0), len(names))

    def _outputs(self, inputs: NDArray[np.float32]) -> Tensor:
        return outputs_of(self._model, torch.from_numpy(inputs), self._run.task.name)

    def _answers(self, shares: _Numbers) -> NDArray[np.int64]:
        threshold = self._run.plan.evaluation.threshold
        if threshold is not None and shares.shape[1] == 2:
            return (shares[:, 1] >= threshold).astype(np.int64)
        found: NDArray[np.int64] = shares.argmax(1)
        return found

    def _name(self, answer: int) -> str:
        return str(answer) if self._classes is None else self._classes[answer]

    def _reasons(self, explains: Adding, added: _Numbers, answer: int) -> list[object]:
        """Of two classes those of the second; of more those of the class that is predicted."""
        outcome = 0 if len(explains.outcomes) == 1 else answer
        head: list[object] = [] if len(explains.outcomes) == 1 else [explains.outcomes[outcome]]
        base = [f"{value:.9g}" for value in explains.intercepts.values()]
        head += base if len(explains.outcomes) == 1 else [base[outcome]]
        own = added[outcome]
        if self._asked.explained == ALL:
            return [*head, *(f"{value:.9g}" for value in own.tolist())]
        largest = np.argsort(-np.abs(own), kind="stable")[: self._top]
        return [*head, *(word for at in largest for word in (explains.names[at], f"{own[at]:.9g}"))]
