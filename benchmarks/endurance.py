"""What is long by nature, in full: the tests with one mark at a hundred times their share of `make test`.

    python -m benchmarks.endurance soak|power [SCALE]

Writes soak.md or power.md: the date, the machine, and a row per test with its cases, seconds and figures. Ends with
the exit code of pytest; a table is written of failures too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

from benchmarks.timing import machine

HERE = Path(__file__).parent
WHAT = {
    "soak": "A hostile network, strange bytes and SIGKILL",
    "power": "Noise, samples and adversaries with real noise",
}


def main(mark: str, scale: float) -> int:
    """Run the tests of a mark at a scale, show them, and write what they found."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        # Figures beside a test are no part of the newer form of the file.
        words = [
            "-m",
            "pytest",
            "-q",
            "-n",
            "auto",
            "-m",
            mark,
            "-o",
            "junit_family=xunit1",
            f"--junitxml={told}",
        ]
        done = subprocess.run(
            [sys.executable, *words, "tests"],
            cwd=HERE.parent,
            env={**os.environ, "FEDERATION_SCALE": str(scale)},
            check=False,
        )
        cases = list(Xml.parse(told).iter("testcase"))  # noqa: S314 - pytest wrote it just now
    text = "\n".join(_page(mark, scale, cases)) + "\n"
    (HERE / f"{mark}.md").write_text(text, "utf-8")
    print(text)
    return done.returncode


def _page(mark: str, scale: float, cases: list[Xml.Element]) -> Iterator[str]:
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    seconds = sum(float(case.attrib["time"]) for case in cases)
    yield f"# {WHAT[mark]}"
    yield ""
    yield f"Written by `make {mark}` on {datetime.now(UTC):%Y-%m-%d}, at {scale:g} times `make test`."
    yield ""
    yield f"{machine()}. {len(cases)} cases in {seconds:.0f} s, {failed} failed."
    yield ""
    yield "| test | cases | seconds | figures |"
    yield "| --- | ---: | ---: | --- |"
    tests: dict[str, list[Xml.Element]] = {}
    for case in cases:
        name = f"{case.attrib['classname'].removeprefix('tests.')}: {case.attrib['name'].split('[')[0]}"
        tests.setdefault(name, []).append(case)
    for name, rows in sorted(tests.items()):
        spent = sum(float(case.attrib["time"]) for case in rows)
        yield f"| {name} | {len(rows)} | {spent:.0f} | {'<br>'.join(_figures(rows))} |"


def _figures(cases: list[Xml.Element]) -> Iterator[str]:
    """What the tests told by `record_property`."""
    for case in cases:
        for told in case.iter("property"):
            label = "".join(case.attrib["name"].partition("[")[1:]).strip("[]")
            yield f"{told.attrib['name']}{f' ({label})' if label else ''}: {told.attrib['value']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 100.0))
