"""What computing takes: read from counters, with a method; never made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.metering import JOULES, NO_JOULES, Meter


def counters(folder: Path, *microjoules: int, most: int = 1000) -> Path:
    for number, value in enumerate(microjoules):
        place = folder / f"intel-rapl:{number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "energy_uj").write_text(f"{value}\n")
        (place / "max_energy_range_uj").write_text(f"{most}\n")
        inside = folder / f"intel-rapl:{number}:0"
        inside.mkdir(exist_ok=True)
        (inside / "energy_uj").write_text("999\n")
    return folder


def test_processors_are_added_up_and_a_counter_may_go_round(tmp_path: Path) -> None:
    meter = Meter.begin(counters(tmp_path, 100, 900))
    counters(tmp_path, 350, 50)
    found = meter.taken()
    assert found.joules == pytest.approx(((350 - 100) + (50 - 900 + 1000)) / 1e6)
    assert JOULES in found.method


def test_where_nobody_may_read_there_are_no_joules(tmp_path: Path) -> None:
    assert Meter.begin(tmp_path / "none").taken().joules is None
    assert NO_JOULES in Meter.begin(tmp_path / "none").taken().method
    meter = Meter.begin(counters(tmp_path, 100, 900))
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("no number")
    assert meter.taken().joules is None, "half of the processors is no sum"


def test_seconds_are_those_of_the_processor() -> None:
    meter, total = Meter.begin(), 0
    for number in range(3_000_000):
        total += number
    assert 0 < meter.taken().cpu_seconds < 60
