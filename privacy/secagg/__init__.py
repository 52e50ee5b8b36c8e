"""Secure aggregation, bytes in and bytes out: the server learns a sum over sites and no site's own vector.

Double masking, after Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal and Seth, "Practical
Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017 (eprint 2017/281). Each site i uploads, in
the ring of integers modulo 2^b,

    y_i = x_i + PRG(self key of i) + sum over j > i of PRG(pair key of i and j) - sum over j < i of the same.

The pairwise masks cancel in the sum. If a site vanishes, its pairwise masks are rebuilt from shares of its
mask secret; the self masks of those who stayed are rebuilt from shares of their seeds. Nobody ever gives away
both kinds of share of one site, so no one can strip a single upload bare.

The server is not trusted with any of it. Keys are signed under a roster that a consortium certified, masks are
bound to everything the sites must agree on, and a sum is opened only for the one set of sites that a quorum of
them signed for. Specified in docs/protocol.md.
"""
