"""Near duplicates: the same photograph again, resized, encoded anew, mirrored or with up to a tenth cut off.

Letters: n pictures in all, m of one split, p pairs, t = 32 pixels of a thumbnail each way, w windows.

A picture's fingerprint is the cosine transform of its grey thumbnail, its lowest frequencies only (encoders and
sizes change the high ones) and each multiplied by its frequency (in photographs amplitude falls as 1 / frequency,
so all then weigh alike, and two different photographs hardly correlate). Two steps:

1. Candidates: fingerprints of 8 x 8 frequencies, of the whole picture against views of every other (mirrored or
   not; 100, 95 or 90 % of its middle), by products of matrices. Beyond 20,000 pictures, only against those of the
   nearest cells, so that the work grows as n to 1.5.
2. Proof: of each candidate, fingerprints of 12 x 12 frequencies, the window that fits best sought along one side
   and then the other. On photographs true copies reach 0.93 and more, others hardly 0.85. A picture made of few
   frequencies (stripes, a chessboard) is like any other such: its copies must fit better, and have its colour.

Hashes of bits, as ImageHash and imagededup have them, find what is resized or encoded anew; a crop of 5 % turns
4 to 14 of 64 bits, and among 300 photographs some that differ are 8 apart. Hence products, which are as cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vitral.checks.fingerprints import SIDE, fingerprints, mirror, transform, unit, weights_of

CANDIDATE = 0.6
"""Correlation of 8 x 8 frequencies from which a pair is looked at closely."""

SAME = 0.9
"""Correlation of 12 x 12 frequencies, best window, from which two pictures are called near duplicates."""

PATTERN = 10.0
"""Frequencies that share the energy of a fingerprint (1 / the sum of squared shares), below which it is a pattern."""

SAME_PATTERN, SAME_COLOUR = 0.95, 12.0
"""For patterns: correlation, and the largest difference of mean red, green or blue of 255."""

MOST = 8
"""Candidates of one view of one picture in one split; a picture has six views."""

SHARES = (1.0, 0.95, 0.9)
CUTS = (0.0, 0.0125, 0.025, 0.0375, 0.05, 0.075, 0.1)
WINDOWS = [(low, 1 - high) for low in CUTS for high in CUTS]
"""Parts of a side, as (start, end) within [0, 1], that a crop may have left."""

STARTS = (WINDOWS.index((0.025, 0.975)), WINDOWS.index((0.0, 1.0)))
EXHAUSTIVE = 20_000
"""Pictures of one split up to which each is compared with all."""

PROBES = 8
"""Cells that a view is looked up in beyond that."""

FLAT = 2.0
"""Standard deviation of the grey values below which a thumbnail shows nothing to compare."""

BLOCK = 1024


class Match(NamedTuple):
    """Pictures `first` < `second` show the same; one is perhaps `mirrored`, or a window of the other.

    kept: of height and of width, the share that the smaller window has (1 where nothing is cut off); `cropped`:
    the position of the picture that lacks the rest. similarity: the correlation, up to 1.
    """

    first: int
    second: int
    similarity: float
    mirrored: bool
    cropped: int
    kept: tuple[float, float]


def near_duplicates(thumbnails: np.ndarray, colours: np.ndarray, groups: Sequence[int]) -> list[Match]:
    """Every pair of near duplicates among thumbnails [n, t, t] uint8, in order.

    Args:
        colours: mean red, green and blue of each picture, 0 to 255 [n, 3].
        groups: the split of each picture, as a number: candidates are kept for each split apart, so that many
            copies within one do not hide a copy in another.
    """
    shown = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= FLAT) if len(thumbnails) else np.zeros(0, dtype=int)
    grey = thumbnails[shown].astype(np.float32)
    pairs = _candidate_pairs(grey, np.asarray(groups)[shown])
    best: dict[tuple[int, int], Match] = {}
    for start in range(0, len(pairs), BLOCK // 4):
        for match in _fit(grey, pairs[start : start + BLOCK // 4]):
            key = match.first, match.second
            if key not in best or best[key].similarity < match.similarity:
                best[key] = match
    real = _is_pattern(grey), colours[shown]
    return [
        match._replace(first=int(shown[i]), second=int(shown[j]), cropped=int(shown[match.cropped]))
        for (i, j), match in sorted(best.items())
        if _convincing(match, *real)
    ]


def _candidate_pairs(grey: np.ndarray, splits: np.ndarray) -> list[tuple[int, int, bool]]:
    full = fingerprints(grey, 1.0)
    found: dict[tuple[int, int, bool], None] = {}
    for split in np.unique(splits):
        members = np.flatnonzero(splits == split)
        for share in SHARES:
            views = fingerprints(grey, share)
            for mirrored in (False, True):
                for i, j in _candidates(mirror(views) if mirrored else views, full, members):
                    low, high = np.minimum(i, j), np.maximum(i, j)
                    keys = zip(low.tolist(), high.tolist(), strict=True)
                    found.update(dict.fromkeys((a, b, mirrored) for a, b in keys if a != b))
    return sorted(found)


def _is_pattern(grey: np.ndarray) -> np.ndarray:
    side = transform(12, 0.0, 1.0)
    shares = unit((side @ grey @ side.T) * weights_of(12)) ** 2
    return (shares**2).sum(axis=(1, 2)) > 1 / PATTERN


def _convincing(match: Match, is_pattern: np.ndarray, colours: np.ndarray) -> bool:
    pair = [match.first, match.second]
    if not is_pattern[pair].any():
        return True
    apart = np.abs(colours[match.first] - colours[match.second]).max()
    return match.similarity >= SAME_PATTERN and bool(apart <= SAME_COLOUR)


# Candidates ---------------------------------------------------------------------------------------


def _candidates(queries: np.ndarray, full: np.ndarray, members: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(query, member) positions whose fingerprints are close, up to `MOST` members for a query (and itself)."""
    for asked, among in _lookups(queries, full, members):
        gallery = np.ascontiguousarray(full[among].T)
        for start in range(0, len(asked), BLOCK):
            rows = asked[start : start + BLOCK]
            close = queries[rows] @ gallery
            crowded = np.flatnonzero((close > CANDIDATE).sum(axis=1) > MOST + 1)
            least = np.full(len(rows), CANDIDATE, dtype=np.float32)
            if len(crowded):
                least[crowded] = -np.partition(-close[crowded], MOST, axis=1)[:, MOST]
            i, j = np.nonzero(close >= least[:, None])
            yield rows[i], among[j]


def _lookups(queries: np.ndarray, full: np.ndarray, members: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which queries to compare with which members: all with all, or those that share a cell."""
    everyone = np.arange(len(queries))
    if len(members) <= EXHAUSTIVE:
        yield everyone, members
        return
    count = int(np.sqrt(len(members)))
    draw = np.random.default_rng(0).choice(members, count, replace=False)
    middles = np.ascontiguousarray(full[draw].T)
    home = np.concatenate([(full[part] @ middles).argmax(axis=1) for part in _blocks(members)])
    near = np.concatenate(
        [np.argpartition(-(queries[part] @ middles), PROBES)[:, :PROBES] for part in _blocks(everyone)]
    )
    by_home, by_near = np.argsort(home, kind="stable"), np.argsort(near.ravel(), kind="stable")
    home_ends = np.searchsorted(home[by_home], np.arange(count + 1))
    near_ends = np.searchsorted(near.ravel()[by_near], np.arange(count + 1))
    for cell in range(count):
        inside = members[by_home[home_ends[cell] : home_ends[cell + 1]]]
        yield by_near[near_ends[cell] : near_ends[cell + 1]] // PROBES, inside


def _blocks(positions: np.ndarray) -> list[np.ndarray]:
    return [positions[start : start + BLOCK] for start in range(0, len(positions), BLOCK)]


# Proof --------------------------------------------------------------------------------------------


def _fit(grey: np.ndarray, pairs: list[tuple[int, int, bool]]) -> list[Match]:
    """Those of the pairs that prove to be near duplicates."""
    first, second, mirrored = (np.array(column) for column in zip(*pairs, strict=True))
    a, b = grey[first], grey[second]
    a[mirrored] = a[mirrored][:, :, ::-1]
    quick = [(way, *_search(x, y, STARTS[0], 2)) for way, x, y in ((1, a, b), (0, b, a))]
    scores = np.maximum(quick[0][1], quick[1][1])
    unsure = np.flatnonzero((scores > SAME - 0.15) & (scores < SAME + 0.05))
    found = _matches(first, second, mirrored, np.flatnonzero(scores >= SAME + 0.05), quick)
    a, b = a[unsure], b[unsure]
    slow = [(way, *_search(x, y, begin, 4)) for way, x, y in ((1, a, b), (0, b, a)) for begin in STARTS]
    return found + _matches(first[unsure], second[unsure], mirrored[unsure], np.arange(len(unsure)), slow)


Tried = tuple[int, np.ndarray, np.ndarray, np.ndarray]
"""Which of a pair is the cropped one, and what `_search` found for all pairs."""


def _matches(
    first: np.ndarray, second: np.ndarray, mirrored: np.ndarray, places: np.ndarray, tries: Sequence[Tried]
) -> list[Match]:
    found = []
    for k in places:
        way, scores, down, across = max(tries, key=lambda one: one[1][k])
        if scores[k] >= SAME:
            pair = int(first[k]), int(second[k])
            low, high = WINDOWS[down[k]], WINDOWS[across[k]]
            kept = round(low[1] - low[0], 4), round(high[1] - high[0], 4)
            found.append(Match(*pair, min(float(scores[k]), 1.0), bool(mirrored[k]), pair[way], kept))
    return found


def _search(a: np.ndarray, b: np.ndarray, begin: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The window of each of `a` [p, t, t] that is most like all of `b` [p, t, t].

    Starts with window `begin` of the width; then, in turn, all windows of the height are tried for that of the
    width, and all of the width for that of the height.

    Returns:
        correlation, window of the height, window of the width, each [p].
    """
    transforms = np.stack([transform(12, *window) for window in WINDOWS])
    weights = weights_of(12)
    aim = unit((transforms[STARTS[1]] @ b @ transforms[STARTS[1]].T) * weights) * weights
    down = across = np.full(len(a), begin)
    score = np.zeros(len(a), dtype=np.float32)
    flat = transforms.reshape(-1, SIDE)
    for step in range(steps):
        if step % 2 == 0:
            half = a @ transforms[across].transpose(0, 2, 1)  # [p, t, 12]
            tried = (flat @ half).reshape(len(a), len(WINDOWS), 12, 12)
        else:
            half = transforms[down] @ a  # [p, 12, t]
            tried = (half @ flat.T).reshape(len(a), 12, len(WINDOWS), 12).transpose(0, 2, 1, 3)
        lengths = np.sqrt(np.einsum("pwij,pwij,ij->pw", tried, tried, weights**2, optimize=True))
        scores = np.einsum("pwij,pij->pw", tried, aim, optimize=True) / np.maximum(lengths, 1e-6)
        chosen = scores.argmax(axis=1)
        score = scores[np.arange(len(a)), chosen]
        down, across = (chosen, across) if step % 2 == 0 else (down, chosen)
    return score, down, across
