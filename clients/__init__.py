"""What a site does: hold data and keys, consent, train, release.

Nothing is imported from here. A site is run by `federation join site.toml`; what a program needs of this package,
`preflight` and `adapted`, is at the front door: `from federation import preflight, adapted`.
"""

__all__: list[str] = []
