"""privacy.signing: Ed25519 as RFC 8032 has it, and statements that serve one purpose only."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.signing import _SMALL_ORDER as SMALL_ORDER
from privacy.signing import is_identity, is_signed, public_identity, sign
from privacy.wire import digest
from tests.privacy.secagg.rounds import identity

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
GROUP = 2**252 + 27742317777372353535851937790883648493


def test_signatures_are_those_of_rfc_8032_section_7_1() -> None:
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    )
    assert public_identity(key).hex() == "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    signature = (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    assert key.sign(bytes.fromhex("af82")).hex() == signature


@given(st.text(max_size=9), st.lists(st.binary(max_size=9), max_size=3))
def test_a_statement_is_the_label_in_the_clear_and_a_digest(label: str, parts: list[bytes]) -> None:
    key = identity("a site")
    octets = label.encode()
    statement = len(octets).to_bytes(4, "big") + octets + digest(label, *parts)
    assert sign(key, label, *parts) == key.sign(statement)


def test_a_signature_is_for_one_key_label_and_sequence_of_parts() -> None:
    key = identity("a site")
    public, signature = public_identity(key), sign(key, "label", b"one", b"two")
    assert is_signed(public, signature, "label", b"one", b"two")
    assert not is_signed(public_identity(identity("another")), signature, "label", b"one", b"two")
    assert not is_signed(public, signature, "other", b"one", b"two")
    assert not is_signed(public, signature, "label", b"onet", b"wo")
    assert not is_signed(public, signature, "label", b"one")
    for bit in (0, 255, 256, 511):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        assert not is_signed(public, bytes(altered), "label", b"one", b"two")


def test_a_signature_has_one_encoding() -> None:
    """S and S + L satisfy the same equation; the larger is refused (RFC 8032, section 5.1.7)."""
    key = identity("a site")
    signature = sign(key, "label")
    larger = int.from_bytes(signature[32:], "little") + GROUP
    assert not is_signed(public_identity(key), signature[:32] + larger.to_bytes(32, "little"), "label")


def _plus(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    """Addition on the Edwards curve -x^2 + y^2 = 1 + d x^2 y^2, in full (Hisil et al. 2008)."""
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    return x, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def _abscissa(y: int) -> int:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    return root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P


def test_the_five_coordinates_are_those_of_all_eight_points_of_small_order() -> None:
    points = {(x, y) for y in SMALL_ORDER for x in (_abscissa(y), -_abscissa(y) % P)}
    assert len(points) == 8
    for point in points:
        assert (-(point[0] ** 2) + point[1] ** 2 - 1 - D * point[0] ** 2 * point[1] ** 2) % P == 0
        double = _plus(point, point)
        quadruple = _plus(double, double)
        assert _plus(quadruple, quadruple) == (0, 1)


def test_keys_of_small_order_or_in_another_encoding_are_none() -> None:
    """12: also with the sign bit, and with p added."""
    values = {y + shift for y in SMALL_ORDER for shift in (0, P) if y + shift < 2**255}
    for value in values:
        for sign_bit in (0, 2**255):
            assert not is_identity((value + sign_bit).to_bytes(32, "little"))
    assert not is_identity((P + 3).to_bytes(32, "little"))
    assert not is_identity(b"short")
    assert is_identity(public_identity(identity("a site")))
