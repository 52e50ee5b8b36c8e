"""The way to the coordinator: whatever is wrong with it has a line of its own, and the right exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest

from clients.node.line import Line, Place
from clients.node.trouble import trouble_of
from clients.policy import load_site
from clients.preflight.finding import Finding
from clients.preflight.network import network
from tests.certificates import Authority
from tests.clients.preflight.listener import listening, proxying
from tests.clients.test_join import SITE, write_site
from tests.patience import patience
from tests.ports import free_port

AUTHORITY = Authority()
STRANGER = Authority("Corporate Inspection")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def found(folder: Path, address: str, *, is_patient: bool = False, more: str = "") -> dict[str, Finding]:
    """The findings of a site whose coordinator is at this address, by name."""
    path = write_site(folder, f'{SITE}[server]\naddress = "{address}"\ncertificate = "ca.crt"\n{more}')
    (folder / "ca.crt").write_bytes(AUTHORITY.pem)
    return {finding.name: finding for finding in network(load_site(path), path, is_patient=is_patient)}


def only_wrong(findings: dict[str, Finding]) -> tuple[str, int, str]:
    """The one finding that is an error: name, exit code, words. All before it are well, and none comes after."""
    *before, last = findings.values()
    assert [finding.level for finding in before] == ["ok"] * len(before)
    assert last.error is not None and last.level == "error"
    return last.name, last.error.exit_code, str(last.error)


def test_a_coordinator_that_is_there_is_told_step_by_step(tmp_path: Path, stack: ExitStack) -> None:
    certificate = AUTHORITY.signed("localhost", ends=90 * DAY)
    port = stack.enter_context(listening(tmp_path, AUTHORITY, certificate=certificate))
    findings = found(tmp_path, f"localhost:{port}")
    assert list(findings) == ["proxy", "name", "port", "TLS", "clock"]
    assert {finding.level for finding in findings.values()} == {"ok"}
    assert "signed by the federation's authority, which ca.crt pins" in findings["TLS"].detail


def test_a_certificate_that_ends_soon_is_told_in_time(tmp_path: Path, stack: ExitStack) -> None:
    port = stack.enter_context(listening(tmp_path, AUTHORITY, "localhost"))
    tls = found(tmp_path, f"localhost:{port}")["TLS"]
    assert (tls.level, "days from now" in tls.detail) == ("warning", True)


@pytest.mark.parametrize("shown", [None, b"0"], ids=["not shown again", "not readable"])
def test_a_certificate_of_which_no_more_can_be_told_is_no_bug_of_ours(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, shown: bytes | None
) -> None:
    """TLS stands with it; what looks at it for people may be stricter."""
    monkeypatch.setattr("clients.node.trouble.shown_by", lambda _: shown)
    port = stack.enter_context(listening(tmp_path, AUTHORITY, "localhost"))
    tls = found(tmp_path, f"localhost:{port}")["TLS"]
    assert (tls.level, tls.detail) == ("ok", f"localhost:{port} shows a certificate by ca.crt")


@pytest.mark.parametrize("is_patient", [False, True])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "another authority",
            r"opens TLS: its certificate is signed by Corporate Inspection, not by ca\.crt",
        ),
        (
            "expired",
            r"expired on \d{4}-\d\d-\d\d; ask the coordinator for a new one; this machine's clock says",
        ),
        ("not yet valid", r"is not valid before .* this machine's clock says .*: check it"),
        ("another name", r"is not for localhost \(it is for elsewhere\.example\)"),
    ],
)
def test_a_certificate_that_is_wrong_is_told_by_what_is_wrong_with_it_however_patient(
    tmp_path: Path, stack: ExitStack, fault: str, words: str, is_patient: bool
) -> None:
    signer = STRANGER if fault == "another authority" else AUTHORITY
    begins, ends = {"expired": (-3 * DAY, -DAY), "not yet valid": (DAY, 2 * DAY)}.get(fault, (-DAY, DAY))
    host = "elsewhere.example" if fault == "another name" else "localhost"
    certificate = signer.signed(host, begins=begins, ends=ends)
    port = stack.enter_context(listening(tmp_path, AUTHORITY, certificate=certificate))
    name, code, text = only_wrong(found(tmp_path, f"localhost:{port}", is_patient=is_patient))
    assert (name, code) == ("TLS", 4)
    assert re.search(words, text), text


def test_a_port_without_tls_is_no_coordinator(tmp_path: Path, stack: ExitStack) -> None:
    port = stack.enter_context(proxying(200))
    assert only_wrong(found(tmp_path, f"localhost:{port}"))[:2] == ("TLS", 4)


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(3600, "error"), (-3600, "error"), (-20, "error"), (330, "error"), (0, "ok"), (120, "warning")],
)
def test_a_clock_that_the_coordinator_would_refuse_is_an_error(
    tmp_path: Path, stack: ExitStack, ahead: float, level: str
) -> None:
    """Signatures of nodes may be five minutes old, and five seconds of the future."""
    port = stack.enter_context(listening(tmp_path, AUTHORITY, "localhost", ahead=ahead))
    clock = found(tmp_path, f"localhost:{port}", is_patient=True)["clock"]
    assert clock.level == level
    if clock.error is not None:
        assert clock.error.exit_code == 2
        assert ("behind" if ahead > 0 else "ahead of") in str(clock.error)


@pytest.mark.parametrize(
    ("host", "step", "words"),
    [
        ("localhost", "port", "refuses the connection"),
        ("no-such-host.invalid", "name", "is server.address in site.toml misspelled?"),
    ],
)
def test_a_coordinator_that_cannot_be_reached_now_is_an_error_unless_the_site_will_wait(
    tmp_path: Path, host: str, step: str, words: str
) -> None:
    address = f"{host}:{free_port()}"
    name, code, text = only_wrong(found(tmp_path, address))
    assert (name, code) == (step, 4)
    assert words in text
    patient = found(tmp_path, address, is_patient=True)[step]
    assert (patient.level, patient.error) == ("warning", None)
    assert "keeps trying" in patient.cure
    assert words in f"{patient.detail}; {patient.cure}"


@pytest.mark.parametrize(
    ("status", "words"), [(407, "asks who we are"), (403, "does not connect to localhost:1")]
)
def test_a_proxy_that_lets_nothing_through_is_told_as_that(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    port = stack.enter_context(proxying(status))
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{port}")
    findings = found(tmp_path, "localhost:1")
    assert "HTTPS_PROXY" in findings["proxy"].detail
    assert not any("secret" in finding.detail for finding in findings.values())
    name, code, text = only_wrong(findings)
    assert (name, code) == ("TLS", 4)
    assert words in text


def test_a_proxy_that_cannot_be_understood_is_the_callers_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:secret@127.0.0.1:1")
    name, code, text = only_wrong(found(tmp_path, "localhost:1"))
    assert (name, code) == ("proxy", 2)
    assert "secret" not in text


def test_a_site_without_a_server_is_told_so(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (finding,) = network(load_site(path), path)
    assert (finding.name, finding.level) == ("server", "error")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("localhost", "refuses the connection"),
        ("no-such-host.invalid", "the name no-such-host.invalid is not known"),
    ],
)
def test_a_connection_that_is_lost_later_is_told_in_the_same_words(
    tmp_path: Path, host: str, words: str
) -> None:
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.pem)
    place = Place(f"{host}:{free_port()}", tmp_path / "ca.crt")
    with closing(Line(place)) as line, pytest.raises(Exception) as caught:
        line.post("/", {}, b"", largest=1, seconds=patience(20))
    assert words in trouble_of(caught.value, place, "berlin").what


def test_a_proxy_that_is_not_there_is_not_taken_for_the_coordinator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    told = f"the proxy 127.0.0.1 port {port} refuses the connection; check host and port of HTTPS_PROXY"
    name, code, words = only_wrong(found(tmp_path, "fed.example.org:8443"))
    assert (name, code) == ("port", 4)
    assert words.startswith(told)
    monkeypatch.setenv("HTTPS_PROXY", "http://nowhere.invalid:3128")
    name, code, words = only_wrong(found(tmp_path, "fed.example.org:8443"))
    assert (name, code, words) == (
        "name", 4, "the proxy's name nowhere.invalid is not known here; check HTTPS_PROXY, or ALL_PROXY",
    )  # fmt: skip


@pytest.mark.parametrize("content", [None, "", "no certificate"], ids=["gone", "empty", "other"])
def test_a_certificate_file_that_cannot_be_used_is_no_bug_of_ours(
    tmp_path: Path, stack: ExitStack, content: str | None
) -> None:
    """The site file's own check tells it too, but the way to the coordinator is looked at all the same."""
    port = stack.enter_context(listening(tmp_path, AUTHORITY, "localhost"))
    path = write_site(tmp_path, f'{SITE}[server]\naddress = "localhost:{port}"\ncertificate = "pin.crt"\n')
    if content is not None:
        (tmp_path / "pin.crt").write_text(content)
    findings = {finding.name: finding for finding in network(load_site(path), path)}
    assert only_wrong(findings)[0] in {"proxy", "TLS"}
    assert "pin.crt" in only_wrong(findings)[2] or "certificate" in only_wrong(findings)[2]
