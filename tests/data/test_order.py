"""The computed shuffle is a bijection, as good as a stored one, and indifferent to how it is read."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vitral.data.order import MAX_SIZE, permuted, repeated_ids, sample_ids
from vitral.data.random_streams import batch_generator, borrowed_generator, mix64, sample_generator, step_seed

# Far below what chance gives: a sound shuffle fails one of our few tests once in 10,000 changes of the code.
UNLIKELY = 1e-5


@pytest.mark.parametrize("size", [*range(1, 40), 127, 128, 129, 1000, 4096, 65_537])
def test_an_epoch_visits_every_sample_once(size: int) -> None:
    assert np.array_equal(np.sort(permuted(np.arange(size), size, seed=3, epoch=1)), np.arange(size))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, MAX_SIZE), st.integers(0, 2**63 - 1), st.integers(0, 2**62), st.data())
def test_far_places_of_a_huge_set_land_inside_and_apart(size, seed, epoch, data) -> None:
    places = np.unique(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50)))
    ids = permuted(places, size, seed, epoch)
    assert ids.dtype == np.int64
    assert ids.min() >= 0
    assert ids.max() < size
    assert len(np.unique(ids)) == len(places)


def test_a_single_place_answers_as_within_an_array() -> None:
    assert permuted(7, 1000, 5, 2) == permuted(np.arange(1000), 1000, 5, 2)[7]


def test_epochs_and_seeds_have_unrelated_orders() -> None:
    size = 10_000
    orders = [permuted(np.arange(size), size, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    for one, other in itertools.combinations(orders, 2):
        # Of two unrelated orders, about Poisson(1) places agree.
        assert (one == other).sum() < 12
        assert abs(stats.pearsonr(one, other).statistic) < 5 / np.sqrt(size)


def test_each_sample_stands_at_each_place_equally_often() -> None:
    size, epochs = 24, 24 * 400
    orders = sample_ids(0, size * epochs, size, seed=0)[1].reshape(epochs, size)
    counts = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])
    # Rows and columns both sum to `epochs`, hence (size - 1)^2 degrees of freedom.
    statistic = ((counts - epochs / size) ** 2 / (epochs / size)).sum() * (size - 1) / size
    assert stats.chi2.sf(statistic, (size - 1) ** 2) > UNLIKELY


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_orders_of_a_small_set_are_equally_likely(size: int) -> None:
    epochs = 12_000
    orders = sample_ids(0, size * epochs, size, seed=1)[1].reshape(epochs, size)
    codes = orders @ (size ** np.arange(size))
    expected = np.array(list(itertools.permutations(range(size)))) @ (size ** np.arange(size))
    counts = np.array([(codes == code).sum() for code in expected])
    assert stats.chisquare(counts).pvalue > UNLIKELY


def test_neighbours_in_the_order_are_unrelated() -> None:
    size, epochs = 16, 20_000
    orders = sample_ids(0, size * epochs, size, seed=2)[1].reshape(epochs, size)
    steps = (orders[:, 1] - orders[:, 0]) % size
    assert stats.chisquare(np.bincount(steps, minlength=size)[1:]).pvalue > UNLIKELY


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 500), st.lists(st.integers(0, 70), max_size=6))
def test_any_cut_of_the_stream_into_batches_is_the_same_stream(size, start, lengths) -> None:
    whole = sample_ids(start, sum(lengths), size, seed=9)
    starts = start + np.cumsum([0, *lengths])[:-1]
    parts = [sample_ids(int(at), length, size, seed=9) for at, length in zip(starts, lengths, strict=False)]
    for column in range(2):
        joined = np.concatenate([np.empty(0, np.int64), *(part[column] for part in parts)])
        assert np.array_equal(joined, whole[column])


def test_the_stream_is_the_orders_of_the_epochs_one_after_the_other() -> None:
    epochs, ids = sample_ids(5, 20, 8, seed=4)
    for i in range(20):
        assert epochs[i] == (5 + i) // 8
        assert ids[i] == permuted((5 + i) % 8, 8, 4, (5 + i) // 8)


def test_a_batch_of_three_billion_samples_takes_no_memory_to_speak_of() -> None:
    tracemalloc.start()
    epochs, ids = sample_ids(10**12 + 7, 1024, 3_000_000_000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert set(epochs) == {(10**12 + 7) // 3_000_000_000}
    assert len(set(ids)) == 1024


@pytest.mark.parametrize(("place", "size"), [(-1, 4), (4, 4), (0, 0), (0, MAX_SIZE + 1)])
def test_a_place_or_size_out_of_range_is_refused(place: int, size: int) -> None:
    with pytest.raises(ValueError, match=str(size - 1) if 0 < size <= MAX_SIZE else str(size)):
        permuted(place, size, 0, 0)


def test_mixing_of_words_is_the_published_splitmix64() -> None:
    # First outputs of SplitMix64 from state 1234567, from the reference C program (rosettacode.org, "Pseudo-random
    # numbers/Splitmix64"), which adds the gamma before each output.
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + i * gamma) % 2**64 for i in range(3)], dtype=np.uint64)
    assert mix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_sample_epoch_seed_purpose_and_batch_has_its_own_stream() -> None:
    values = [
        generator.integers(2**63)
        for words in itertools.product(range(3), repeat=4)
        for generator in [sample_generator(*words), batch_generator(*words[:3])]
    ]
    assert len(set(values)) == 81 + 27


def test_a_stream_is_the_same_each_time_it_is_asked_for() -> None:
    first, second = (sample_generator(2**62, 3, 10**11, 1).random(9) for _ in range(2))
    assert np.array_equal(first, second)


def test_streams_of_neighbouring_samples_are_uniform_and_unrelated() -> None:
    values = np.array([sample_generator(0, 0, sample, 0).random(2) for sample in range(4000)])
    assert stats.kstest(values[:, 0], "uniform").pvalue > UNLIKELY
    assert stats.pearsonr(values[1:, 0], values[:-1, 0]).pvalue > UNLIKELY


def test_step_seeds_are_distinct_63_bit_integers() -> None:
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_repeats_follow_each_other_and_an_epoch_has_as_many_places() -> None:
    views, ids = repeated_ids(0, 30, 10, seed=3, repeats=3)
    for epoch in range(3):
        order = permuted(np.arange(10), 10, 3, epoch)
        assert ids[10 * epoch : 10 * epoch + 10].tolist() == np.repeat(order[:4], 3)[:10].tolist()
        assert views[10 * epoch : 10 * epoch + 10].tolist() == [3 * epoch + k % 3 for k in range(10)]
    assert len({*zip(views.tolist(), ids.tolist(), strict=True)}) == 30  # no view is shown twice
    parts = [repeated_ids(start, 6, 10, seed=3, repeats=3) for start in range(0, 30, 6)]
    assert np.concatenate([part[1] for part in parts]).tolist() == ids.tolist()
    for ours, theirs in zip(repeated_ids(5, 20, 10, 3, 1), sample_ids(5, 20, 10, 3), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_borrowed_generator_is_the_sample_s_own_whatever_was_drawn_before() -> None:
    for seed, epoch, sample in [(0, 0, 0), (2**64 - 1, 5, 7), (3, 2**40, 2**63), (3, 1, 7)]:
        own, borrowed = sample_generator(seed, epoch, sample), borrowed_generator(seed, epoch, sample)
        for generator in (own, borrowed):
            generator.integers(0, 200, 3, dtype=np.uint8)  # leaves a word half used
        assert own.random(50).tolist() == borrowed.random(50).tolist()
        assert (
            own.bit_generator.state["state"]["counter"].tolist()
            == borrowed.bit_generator.state["state"]["counter"].tolist()
        )
