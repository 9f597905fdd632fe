"""The checks of contract.py notice defects: eight of these fourteen slip past SciPy's own suite."""

import types
import warnings

import contract
import numpy as np
import pytest

import vqfast


def variant(**changed):
    """vqfast with some functions replaced."""
    names = {name: getattr(vqfast, name) for name in vqfast.__all__}
    return types.SimpleNamespace(**{**names, **changed})


def whiten_with_sample_deviation(obs, check_finite=None):
    return vqfast.whiten(obs, check_finite) * np.std(obs, axis=0) / np.std(obs, axis=0, ddof=1)


def whiten_without_warning(obs, check_finite=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vqfast.whiten(obs, check_finite)


def vq_with_last_index_on_ties(obs, code_book, *args, **options):
    codes, dist = vqfast.vq(obs, np.asarray(code_book)[::-1], *args, **options)
    return (len(code_book) - 1 - codes).astype(np.int32), dist


def vq_with_squared_distance(*args, **options):
    codes, dist = vqfast.vq(*args, **options)
    return codes, dist**2


def with_wide_codes(function):
    def changed(*args, **options):
        first, second = function(*args, **options)
        return tuple(a.astype(np.int64) if a.dtype == np.int32 else a for a in (first, second))

    return changed


def kmeans2_that_never_raises(*args, missing="warn", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vqfast.kmeans2(*args, **options)


def kmeans2_with_one_draw_more(*args, minit="random", seed=None, **options):
    if minit == "++":
        seed.uniform()
    return vqfast.kmeans2(*args, minit=minit, seed=seed, **options)


def with_own_default_generator(function):
    def changed(*args, **options):
        if options.get("rng") is None and options.get("seed") is None:
            options = {key: value for key, value in options.items() if key not in ("rng", "seed")}
            options["rng"] = np.random.default_rng()
        return function(*args, **options)

    return changed


def with_seed_as_rng(function):
    def changed(*args, **options):
        if isinstance(options.get("seed"), int):
            options["rng"] = options.pop("seed")
        return function(*args, **options)

    return changed


def with_both_sources_accepted(function):
    def changed(*args, **options):
        if "rng" in options:
            options.pop("seed", None)
        return function(*args, **options)

    return changed


def kmeans_that_keeps_empty_clusters(obs, k_or_guess, *args, **options):
    book, distortion = vqfast.kmeans(obs, k_or_guess, *args, **options)
    n_missing = len(k_or_guess) - len(book)
    return np.concatenate([book, np.asarray(k_or_guess)[:n_missing]]), distortion


def kmeans_that_returns_the_last_restart(obs, k, iter=20, seed=None):
    rng = np.random.RandomState(seed)
    for _ in range(iter):
        result = vqfast.kmeans(obs, k, iter=1, seed=rng)
    return result


def kmeans2_with_zeros_for_empty_clusters(data, *args, **options):
    book, codes = vqfast.kmeans2(data, *args, **options)
    book[np.bincount(codes, minlength=len(book)) == 0] = 0
    return book, codes


def kmeans2_with_codes_of_the_final_book(data, *args, **options):
    book, _ = vqfast.kmeans2(data, *args, **options)
    return book, vqfast.vq(data, book)[0]


def both(change):
    return {"kmeans": change(vqfast.kmeans), "kmeans2": change(vqfast.kmeans2)}


# defect: what it replaces, and the check that has to notice it
MUTANTS = {
    "ddof=1 in whiten": (
        {"whiten": whiten_with_sample_deviation},
        contract.whiten_divides_by_population_deviation,
    ),
    "no warning of constant columns": (
        {"whiten": whiten_without_warning},
        contract.whiten_warns_of_constant_columns,
    ),
    "ties go to the last index": (
        {"vq": vq_with_last_index_on_ties},
        contract.vq_takes_the_lowest_index_on_ties,
    ),
    "squared distance": ({"vq": vq_with_squared_distance}, contract.vq_distance_is_euclidean),
    "no ClusterError": ({"kmeans2": kmeans2_that_never_raises}, contract.kmeans2_raises_on_request),
    "one draw more in '++'": ({"kmeans2": kmeans2_with_one_draw_more}, contract.draws_are_those_of_scipy),
    "default generator is not the global one": (
        both(with_own_default_generator),
        contract.without_a_source_the_global_generator_is_used,
    ),
    "integer seed makes a Generator": (both(with_seed_as_rng), contract.an_integer_seed_makes_a_random_state),
    "rng and seed accepted": (both(with_both_sources_accepted), contract.rng_and_seed_exclude_each_other),
    "int64 codes of vq": ({"vq": with_wide_codes(vqfast.vq)}, contract.vq_codes_are_int32),
    "int64 codes of kmeans2": ({"kmeans2": with_wide_codes(vqfast.kmeans2)}, contract.kmeans2_codes_are_int32),
    "kmeans keeps empty clusters": (
        {"kmeans": kmeans_that_keeps_empty_clusters},
        contract.kmeans_drops_empty_clusters,
    ),
    "kmeans2 zeroes empty clusters": (
        {"kmeans2": kmeans2_with_zeros_for_empty_clusters},
        contract.kmeans2_keeps_empty_clusters,
    ),
    "kmeans2 codes of the final code book": (
        {"kmeans2": kmeans2_with_codes_of_the_final_book},
        contract.kmeans2_codes_belong_to_the_book_before_the_last_means,
    ),
    "kmeans returns the last restart": (
        {"kmeans": kmeans_that_returns_the_last_restart},
        contract.kmeans_returns_the_best_restart,
    ),
}


@pytest.mark.parametrize(("changed", "check"), MUTANTS.values(), ids=MUTANTS.keys())
def test_defect_is_noticed(changed, check):
    check(variant())
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(variant(**changed))


def test_every_check_passes_without_a_defect():
    for check in contract.EVERYTHING:
        check(variant())
