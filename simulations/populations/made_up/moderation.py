"""Four forums and the posts that their moderators took down. Made up.

A row is a post, and an author has one to eight, so `author` is the column that says whose a row is. No sentence of
anybody is in here: `moderation` puts each together from words of its own. One post in eight is taken down: it
insults somebody, threatens somebody, or sells something. Some words for that are common and many are rare, so
nobody has seen all of them often; all are plain English, so whoever knows the language understands those that were
hardly ever posted. Other posts are built the same way of harmless words ("You are a patient teacher."). Forums talk
of different things, and moderators are wrong in one post of two hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.made_up.dealing import TEST_SHARE, named, write_sites

SITES = ("allotment", "bicycle", "cinema", "darkroom")
AUTHORS = 4000
_SHARES = [0.4, 0.3, 0.2, 0.1]
_WRONG = 1 / 200  # of the moderators' decisions
_FEW, _BAD, _ELSE = (
    0.3,
    0.4,
    0.01,
)  # authors who have many posts taken down, the share of theirs, and of the others'
_TAIL = 0.8  # the word at place k is as common as k to the minus this


def _listed(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split("/"))


_OPENINGS = _listed(
    "Hello all / So / Well / Update / Question / By the way / Hi / Honestly / Today / Once more"
)
_TOPICS = (
    _listed(
        """my tomatoes have brown spots / the compost is too wet / slugs ate the lettuce /
        I sowed beans today / the greenhouse needs new glass / our roses bloom late /
        nettles make good feed / frost is coming"""
    ),
    _listed(
        """my rear brake squeals / the new chain skips a gear / I rode to the coast /
        this saddle is too hard / the tunnel is closed for repairs / a spoke broke again /
        these lights are bright / headwind all the way"""
    ),
    _listed(
        """the second act drags / I loved the music in it / the remake is on tonight /
        her first film was better / the ending surprised me / subtitles were late /
        the villain steals the show / we saw it in a full house"""
    ),
    _listed(
        """my negatives are too thin / this lens is soft at the edges / the fixer smells odd /
        grain looks fine to me / the red lamp fogs my paper / black and white for me /
        the old camera still works / I printed two sheets"""
    ),
)
_INSULT = _listed(
    """you {noun} / you are a {how} {noun} / what a {how} {noun} you are / only a {noun} writes that /
    a {how} {noun} like you should be quiet / you are a {noun}"""
)
_NOUNS = _listed(
    """idiot / fool / liar / moron / clown / imbecile / dimwit / halfwit / coward / creep / dunce /
    numbskull / crank / brute / parasite / weasel / rat / worm / pig / snake / donkey / buffoon /
    simpleton / fraud / phony / hypocrite / bully / leech / scoundrel / nitwit / swine / loser /
    blockhead / dolt / traitor / cretin / toad / thug / slob"""
)
_HOW = _listed(
    """stupid / pathetic / ignorant / worthless / nasty / spineless / repulsive / vile / miserable /
    disgusting / shameless / brainless / filthy / wretched / revolting / contemptible"""
)
_THREAT = _listed(
    "I will {noun} {how} / somebody should {noun} {how} / next time I {noun} {how} / I swear I {noun} {how}"
)
_HARMS = _listed(
    """hurt / break / smash / burn / slash / crush / beat up / stab / choke / wreck / shoot / poison /
    strangle / batter / maim / cripple / punch / destroy / kick in / bomb"""
)
_WHOM = _listed(
    """you / your face / your legs / your house / your car / your family / your windows / your kids /
    your dog / your skull / your brother / your shop"""
)
_SALE = _listed(
    "{noun} {how} / limited offer: {noun} {how} / click for {noun} {how} / do not miss {noun} {how}"
)
_GOODS = _listed(
    """followers / pills / a loan / a casino bonus / crypto coins / replica watches / a diploma /
    a free phone / cash / a prize / sexy singles / a miracle diet / designer bags / betting tips /
    gift cards / a lottery ticket / hair tonic / stock tips / a passport / fake reviews"""
)
_WAYS = _listed(
    """now / today only / at half price / without papers / in one click / from my page / with no risk /
    guaranteed / in your area / while they last / for members / by private message"""
)
_BAD_POSTS = ((_INSULT, _NOUNS, _HOW), (_THREAT, _HARMS, _WHOM), (_SALE, _GOODS, _WAYS))
_KINDS = np.array([[0.5, 0.2, 0.3], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.1, 0.7]])

_PRAISE = _listed(
    """you are a {how} {noun} / what a {how} {noun} you are / a {how} {noun} like you should write more /
    only a {noun} knows that / you {how} {noun}"""
)
_FRIENDS = _listed(
    "teacher / friend / neighbor / expert / helper / gardener / artist / listener / guide / genius / angel"
)
_KIND = _listed(
    "kind / patient / generous / clever / gentle / thoughtful / brilliant / modest / careful / cheerful / wise"
)
_PLAN = _listed(
    "I will {noun} {how} / somebody should {noun} {how} / next time I {noun} {how} / I try to {noun} {how}"
)
_CHORES = _listed(
    "clean / mend / oil / paint / wash / borrow / measure / photograph / sort / sharpen / dry / replace"
)
_THINGS = _listed(
    "the shed / my notes / the frame / the fence / your tools / the old box / the curtain / the lamp / it"
)
_ASKED = _listed("{noun} {how} / thanks: {noun} {how} / my tip is {noun} {how} / look at {noun} {how}")
_NEWS = _listed(
    "a meeting / a book / pictures / advice / a talk / an exhibition / spare parts / a walk / coffee / repairs"
)
_WHERE = _listed(
    "on Sunday / at the library / as always / next week / in the old hall / after lunch / for beginners"
)
_GOOD_POSTS = ((_PRAISE, _FRIENDS, _KIND), (_PLAN, _CHORES, _THINGS), (_ASKED, _NEWS, _WHERE))


def moderation(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/FORUM/train.csv and test.csv for four forums; returns `directory`.

    An author is in the test with all posts, or in the training.
    """
    draws = Draws("moderation", seed)
    home, is_one = draws.choices(_SHARES, AUTHORS), draws.uniform(AUTHORS) < _FEW
    posts = 1 + np.floor(np.minimum(-1.4 * np.log(draws.uniform(AUTHORS)), 7)).astype(np.int64)
    author = np.repeat(np.arange(AUTHORS), posts)
    where = home[author]
    is_bad = draws.is_true(np.where(is_one[author], _BAD, _ELSE))
    said = np.where(draws.uniform(len(author)) < _WRONG, ~is_bad, is_bad).astype(np.int64)
    columns = {
        "author": [f"A{number:05}" for number in (author + 1).tolist()],
        "post": _posts(draws, where, is_bad),
        "removed": named(said, ("no", "yes")),
    }
    return write_sites(directory, SITES, columns, where, (draws.uniform(AUTHORS) < TEST_SHARE)[author])


def _posts(draws: Draws, where: Places, is_bad: NDArray[np.bool_]) -> list[str]:
    """Each post: an opening, what the forum is about, and what it is taken down for, or words of that form.

    No post is said twice, by chance neither: one in the test that is in the training, too, would flatter a model.
    What was said before is begun in another way, then about something else, then with another noun.
    """
    shares, found = draws.uniform(len(where), 6).tolist(), dict[str, None]()
    for place, bad, six in zip(where.tolist(), is_bad.tolist(), shares, strict=True):
        turns = (_post(place, bad, six, turn) for turn in count())
        found[next(post for post in turns if post not in found)] = None
    return list(found)


def _post(place: int, bad: bool, shares: Sequence[float], turn: int) -> str:
    """The post of six shares; `turn` counts those that were tried before."""
    first, topic, kind, frame, noun, how = shares
    openings, topics = len(_OPENINGS), len(_TOPICS[place])
    frames, nouns, hows = (_BAD_POSTS if bad else _GOOD_POSTS)[_place(kind, _KINDS[place])]
    other = _rarely(nouns, noun, turn // (openings * topics))
    said = _evenly(frames, frame).format(noun=other, how=_rarely(hows, how))
    about = _evenly(_TOPICS[place], topic, turn // openings)
    return f"{_evenly(_OPENINGS, first, turn)}: {about}. {said[0].upper()}{said[1:]}."


def _evenly(texts: Sequence[str], share: float, turn: int = 0) -> str:
    return texts[(int(share * len(texts)) + turn) % len(texts)]


def _rarely(texts: Sequence[str], share: float, turn: int = 0) -> str:
    """One of the texts, of which the first are the most common."""
    return texts[(_place(share, 1 / np.arange(1, len(texts) + 1) ** _TAIL) + turn) % len(texts)]


def _place(share: float, weights: Floats) -> int:
    ends = np.cumsum(weights)
    return min(int(np.searchsorted(ends, share * ends[-1], side="right")), len(weights) - 1)
