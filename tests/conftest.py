"""How all tests run: so that they can be repeated, never fail for a busy machine, and use all of an idle one."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

# What hypothesis tries follows from the test alone. No example has a time limit: on a busy machine any may be slow.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


# Tests send signals. Under nohup, or in the background of a script, a process begins with some of them ignored, and
# hands that on to every process that it starts; the command leaves it so, as it should.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_configure(config: pytest.Config) -> None:
    """What the program remembers lies in folders of these tests, not in the user's home.

    What it did with data is each process's own. Calibrations are shared by all workers and the commands they start.
    """
    folders = ["XDG_STATE_HOME"] if hasattr(config, "workerinput") else ["XDG_STATE_HOME", "XDG_CACHE_HOME"]
    for name in folders:
        folder = TemporaryDirectory(prefix="federation-tests-")
        os.environ[name] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A worker runs neighbors, which share worlds and calibrations, and takes from others when it has none left."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: it works while another waits for a process."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that wait for processes start first, beside all others; those that take minutes by `make stories`."""
    if not os.environ.get("FEDERATION_STORIES"):
        left = [item for item in items if item.get_closest_marker("minutes") is not None]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


def pytest_collection_finish() -> None:
    """What was loaded by now stays: twelve thousand tests and torch are not searched for garbage over and over."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """A test that has our log speak leaves it as it was."""
    loggers = [logging.getLogger(name) for name in ("federation", "clients", "server", "simulations")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, state in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = state
