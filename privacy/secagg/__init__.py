"""Secure aggregation, bytes in and bytes out: the server learns a sum over sites and no site's own vector.

Double masking, after Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal and Seth, "Practical
Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017 (eprint 2017/281). Each site i uploads, in
the ring of integers modulo 2^b,

    y_i = x_i + PRG(self key of i) + sum over j > i of PRG(pair key of i and j) - sum over j < i of the same.

The pairwise masks cancel in the sum. Each end of a pair gives a half of its key, from its mask secret, sealed for
the other; with its upload each wraps its half for the other's mask secret. If a site vanishes, its pairwise masks
are rebuilt from shares of its mask secret. The self masks of the sites that stayed are rebuilt from shares of
their seeds. No honest site gives away both kinds of share of one site, so the server can never remove all masks
of a single upload.

One round, as a site goes through it (`client`; the server's side is `server`):

    advertise   signs one-time public keys and commitments to its secrets         Advert         statements, keys
    share       checks everyone's adverts; seals halves and shares, signs them    SealedShares   dealing, shamir
    accept      opens and checks what its neighbors sealed for it                 -              dealing
    mask        masks its vector, wraps halves; votes for all who shared          Masked         masks, ring
    commit      only if a site was lost: votes for the sum over those who stayed  Vote           statements
    reveal      checks a quorum's votes; gives one share of each neighbor         Reveal         statements

The server then rebuilds secrets and takes the masks out (`unmasking`), and keeps what it takes to do so again
(`opened`). Seals are keyed by X25519 and ML-KEM-768 together (`kem`). `messages` holds the bytes of every message,
`states` what a site remembers between two steps, `parameters` and `graph` the thresholds, who masks with whom and
what a site demands of a cohort.

The server is not trusted, nor is any one site: whoever deals, wraps or reveals what is wrong is proven to have by
what it signed. Keys are signed under a roster that a consortium certified, masks are bound to everything the
sites must agree on, and a sum is opened only for the one set of sites that a quorum of them signed for. Specified
in docs/protocol.md.
"""
