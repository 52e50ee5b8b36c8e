"""Checkpoints of a ledger that any witness can cosign: C2SP's tlog formats over an RFC 9162 Merkle tree."""
