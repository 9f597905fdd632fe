"""Code books that are added: every code word covers all features, in no order."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.additive import SumBooks
from .._validation import FLOAT32, FLOAT64
from ._base import as_code_books, as_count, check_equal_widths
from ._least_squares import CHUNK_ROWS, MOST_JOINT_WORDS, NormalEquations, mean_of, refit
from ._product import ProductQuantizer
from ._residual import ResidualQuantizer
from ._sums import SumQuantizer, errors_of, used


class Effort(NamedTuple):
    """What is spent on training and on encoding."""

    n_steps: int  # of search and least squares
    n_rounds: int  # of local search in a step
    n_kept: int  # tuples of an observation that the least squares of a step weighs
    beam: int  # at the beginning of the encoder
    encode_rounds: int  # of local search after it


EFFORTS = {
    "default": Effort(n_steps=8, n_rounds=9, n_kept=8, beam=2, encode_rounds=17),
    "high": Effort(n_steps=20, n_rounds=25, n_kept=16, beam=8, encode_rounds=33),
}

# The beam for up to four code books, where a wide one costs little: it leaves strongly correlated
# vectors with up to 4 % less error. The local search finds the same otherwise.
_BEAM_OF_FEW = 8

# Passes over the books in a round of local search.
_SWEEPS = 4

# Observations that the starts are tried on, and on which they are compared; steps of a trial
# (after three, sentence embeddings and autoregressive vectors prefer the start that ends worse).
# Residual code books hardly change in steps on so few observations: they take none.
STARTS = ("product", "opq", "residual")
_TRIED_ROWS, _HELD_OUT_ROWS = 8192, 4096
_TRIED_STEPS = 6

# Code words step so many times as far as to the solution of the least squares, but in the last
# step: sentence embeddings have after 4 such steps the error of 6 plain ones, and after 8 one
# that is 5 % lower.
_STEP = 1.7

# Temperature of the weights of an observation's tuples, in mean squared errors. It falls when a
# step has raised the error: tuples that are too far away weigh too much then. Where code words
# are few for the observations, as with SIFT descriptors, it never does, and a low temperature
# from the beginning fits too closely (2 % more error of other descriptors).
_TEMPERATURE = 0.5
_COOLING = 0.1


class AdditiveQuantizer(SumQuantizer):
    """Several code books whose words are added; the best sum is searched for.

    Parameters
    ----------
    n_code_books : int
        The number of code books.
    n_codes : int, optional
        The number of code words of each book, from 2 to 65536.
    effort : {'default', 'high'}, optional
        How long to search, see Notes. The attribute may be changed after a fit: that of
        encoding is free to differ from that of training.
    beam : int, optional
        Partial tuples in the beam search that `encode` starts with; by default 8 for up to four
        code books and fewer for more of them, 2 from seven on, with high effort 8.
    start : {None, 'product', 'opq', 'residual'} or sequence of array_like, optional
        What training starts from: a product quantizer, one with a rotation, a residual
        quantizer, or None for the best of them. Given code books (n_codes, n_features) are tried
        beside these.
    rng : {None, int, Generator, ...}, optional
        Passed to ``numpy.random.default_rng`` by `fit`: the observations that the code words
        start from.
    workers : int, optional
        Threads to use; None and -1 mean all that this process may use. No result depends on it.

    Attributes
    ----------
    code_books : list of ndarray, each of shape (n_codes, n_features)
        The code words: float32 if trained on float32, otherwise float64.
    counts : list of ndarray, each of shape (n_codes,)
        How many observations stand behind each code word.
    training_distortions : list of float
        Mean squared error on the training set of the start, of each step with the codes that it
        begins with, and of the end; the last one is never above the first.

    See Also
    --------
    ProductQuantizer : the fastest.
    ResidualQuantizer : codes that can be cut short.

    Notes
    -----
    `fit` starts from a product or a residual quantizer, chosen on 8192 observations (the former
    after six steps), fits all code books together by least squares, and repeats 8 times (high
    effort: 20): iterated local search of the codes, 9 rounds (25) from the codes before, then least
    squares over the 8 (16) best tuples of each observation, weighted by their errors. `encode` is a
    beam search in any order of the books without duplicates [1]_, then 17 (33) rounds of local
    search [2]_: half of the words are changed at random, and all are improved in turn until nothing
    changes. The random numbers depend on the words alone.

    With M books of K words of d features a beam takes O(beam M^3 K) additions an observation, a round
    of local search about 3 M^2 K, besides O(M K d) for the inner products; high effort trains
    about five times and encodes two and a half times as long. The table of inner products of code
    words takes 2 (M K)^2 bytes, at most 128 MiB; larger or finer books are searched in float64
    without one, about d times slower. `fit` needs 8 (M K)^2 bytes for the normal equations, beyond
    8192 words it fits the books one after another.

    An observation farther from the mean than four times the longest sum of words is shortened
    to that length when it is encoded.

    References
    ----------
    .. [1] A. Babenko, V. Lempitsky, "Additive quantization for extreme vector compression",
       CVPR 2014.
    .. [2] J. Martinez, J. Clement, H. H. Hoos, J. J. Little, "Revisiting additive quantization",
       ECCV 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import AdditiveQuantizer, ProductQuantizer
    >>> rng = np.random.default_rng(0)
    >>> obs = rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 8))
    >>> additive = AdditiveQuantizer(3, 16, rng=0).fit(obs)
    >>> additive.distortion(obs) < ProductQuantizer(3, 16, rng=0).fit(obs).distortion(obs)
    True
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_code_books", "n_codes", "effort", "beam")

    def __init__(
        self,
        n_code_books: int,
        n_codes: int = 256,
        *,
        effort: str = "default",
        beam: int | None = None,
        start: str | ArrayLike | None = None,
        rng: Any = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(n_code_books, n_codes, rng, workers)
        if effort not in EFFORTS:
            raise ValueError(f"effort must be one of {', '.join(map(repr, EFFORTS))}, got {effort!r}")
        self.effort = effort
        self.beam = None if beam is None else as_count(beam, "beam", 1, 1024)
        self.start = self._as_start(start)
        self.training_distortions = []

    def _as_start(self, start: Any) -> Any:
        if start is None or (isinstance(start, str) and start in STARTS):
            return start
        if isinstance(start, str):
            names = ", ".join(map(repr, STARTS))
            raise ValueError(f"start must be None, {names} or code books, got {start!r}")
        books = as_code_books(start)
        check_equal_widths(books)
        if (len(books), books[0].shape[0]) != (self.n_code_books, self.n_codes):
            raise ValueError(
                f"start must hold {self.n_code_books} code books of {self.n_codes} codes, "
                f"got {len(books)} of {books[0].shape[0]}"
            )
        return books

    @classmethod
    def from_code_books(
        cls,
        code_books: ArrayLike,
        *,
        effort: str = "default",
        beam: int | None = None,
        rng: Any = None,
        workers: int | None = None,
    ) -> Self:
        """A quantizer with given code books, in any order.

        Parameters
        ----------
        code_books : sequence of array_like, each of shape (n_codes, n_features)
            The code books, all of one width. They are copied.
        effort, beam : optional
            As in the constructor.
        rng, workers : optional
            As in the constructor.

        Returns
        -------
        quantizer

        Raises
        ------
        ValueError
            If shapes do not go together or a value is not finite.
        """
        books = as_code_books(code_books)
        quantizer = cls(len(books), books[0].shape[0], effort=effort, beam=beam, rng=rng, workers=workers)
        quantizer._set_given(books)
        return quantizer

    @property
    def _n_changes(self) -> int:
        """Words that a round of local search changes at random: half of them."""
        return (self.n_code_books + 1) // 2

    def _check_for_fit(self, obs: NDArray[Any]) -> None:
        super()._check_for_fit(obs)
        if isinstance(self.start, list) and self.start[0].shape[1] != obs.shape[1]:
            raise ValueError(f"obs must have the {self.start[0].shape[1]} features of start, got shape {obs.shape}")

    def _search(self, books: SumBooks, obs: NDArray[Any], codes: NDArray[np.uint16]) -> None:
        effort = EFFORTS[self.effort]
        few = min(_BEAM_OF_FEW, effort.beam * 64 // self.n_code_books**2)
        beam = max(effort.beam, few) if self.beam is None else self.beam
        books.search(obs, codes, "any order", beam, effort.encode_rounds, _SWEEPS, self._n_changes)

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        kind = self._best_start(obs, rng, workers)
        seed = int(rng.integers(1 << 63))
        first = self._start_books(kind, obs, seed, workers)
        narrow = obs.dtype == FLOAT32
        codes = self._codes_of(first, obs, workers)
        start_error = float(errors_of(first, narrow, obs, codes, workers).mean())
        books, history = self._improved(first, codes, obs, EFFORTS[self.effort], seed, workers)
        codes = self._codes_of(books, obs, workers)
        error = float(errors_of(books, narrow, obs, codes, workers).mean())
        if not error <= start_error:  # where a start is as good as it gets, chance may spoil it
            books, codes, error = first, self._codes_of(first, obs, workers), start_error
        return {
            "code_books": list(books.astype(obs.dtype)),
            "counts": list(used(codes, self.n_codes)),
            "training_distortions": [start_error, *history, error],
        }

    def _codes_of(self, books: NDArray[np.float64], obs: NDArray[Any], workers: int) -> NDArray[np.uint16]:
        codes = np.empty((obs.shape[0], self.n_code_books), dtype=np.uint16)
        self._search(SumBooks(books, obs.dtype == FLOAT32, workers), obs, codes)
        return codes

    # ---- starts ------------------------------------------------------------------------------

    def _start_books(self, kind: Any, obs: NDArray[Any], seed: int, workers: int) -> NDArray[np.float64]:
        """Code books over all features, in the type of the observations."""
        if not isinstance(kind, str):
            return np.array(kind, dtype=obs.dtype).astype(FLOAT64)
        if kind == "residual":
            residual = ResidualQuantizer(self.n_code_books, self.n_codes, rng=seed, workers=workers)
            return np.array(residual.fit(obs).code_books, dtype=FLOAT64)
        rotation = "opq" if kind == "opq" else None
        product = ProductQuantizer(self.n_code_books, self.n_codes, rotation=rotation, rng=seed, workers=workers)
        return product.fit(obs).sum_code_books().astype(obs.dtype).astype(FLOAT64)

    def _best_start(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> Any:
        """The start that some steps of training lead to the lowest error on other observations."""
        kinds: list[Any] = [self.start] if isinstance(self.start, str) else list(STARTS)
        if obs.shape[1] < self.n_code_books:  # no product then
            kinds = ["residual"]
        if isinstance(self.start, list):
            kinds.append(self.start)
        if len(kinds) == 1:
            return kinds[0]
        chosen = rng.permutation(obs.shape[0])
        n_tried = min(max(self.n_codes, _TRIED_ROWS), max(self.n_codes, chosen.size * 3 // 4))
        tried, held_out = obs[np.sort(chosen[:n_tried])], obs[np.sort(chosen[n_tried : n_tried + _HELD_OUT_ROWS])]
        held_out = held_out if len(held_out) else tried
        errors = []
        for kind in kinds:
            effort = EFFORTS["default"]._replace(n_steps=0 if kind == "residual" else _TRIED_STEPS)
            books = self._start_books(kind, tried, 0, workers)
            codes = self._codes_of(books, tried, workers)
            books, _ = self._improved(books, codes, tried, effort, 0, workers)
            codes = self._codes_of(books, held_out, workers)
            errors.append(errors_of(books, False, held_out, codes, workers).mean())
        return kinds[int(np.argmin(errors))]

    # ---- training ----------------------------------------------------------------------------

    def _improved(
        self,
        books: NDArray[np.float64],
        codes: NDArray[np.uint16],
        obs: NDArray[Any],
        effort: Effort,
        seed: int,
        workers: int,
    ) -> tuple[NDArray[np.float64], list[float]]:
        """Code books after steps of local search and least squares; codes are overwritten."""
        shift = mean_of(obs, workers)
        history: list[float] = []
        books = refit(obs, codes, books, shift, workers)
        share = _TEMPERATURE
        for step in range(effort.n_steps):
            error = float(errors_of(books, False, obs, codes, workers).mean())
            if history and error > history[-1]:
                share *= _COOLING
            history.append(error)
            new = self._step_of_training(books, codes, obs, shift, effort, seed + step, share * error, workers)
            books = new if step == effort.n_steps - 1 else books + _STEP * (new - books)
        return books.astype(obs.dtype).astype(FLOAT64), history

    def _step_of_training(
        self,
        books: NDArray[np.float64],
        codes: NDArray[np.uint16],
        obs: NDArray[Any],
        shift: NDArray[np.float64],
        effort: Effort,
        seed: int,
        temperature: float,
        workers: int,
    ) -> NDArray[np.float64]:
        """Search from the codes, which are improved in place; fit the best tuples that were met."""
        n_books, n_codes, _ = books.shape
        search = SumBooks(books, False, workers)
        options = (1, effort.n_rounds, _SWEEPS, self._n_changes, seed % (1 << 63))
        if n_books * n_codes > MOST_JOINT_WORDS:
            search.search(obs, codes, "given", *options)
            return refit(obs, codes, books, shift, workers)
        equations = NormalEquations(n_books, n_codes, shift, workers)
        for first in range(0, obs.shape[0], CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            kept = np.empty((*codes[rows].shape[:1], effort.n_kept, n_books), dtype=np.uint16)
            errors = np.empty(kept.shape[:2])
            search.search(obs[rows], codes[rows], "given", *options, kept, errors)
            equations.add(obs[rows], kept, _weights(errors, temperature))
        return equations.solve(books)


def _weights(errors: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """How much each tuple of an observation counts: less, the larger its error."""
    if not temperature > 0:
        temperature = 1.0
    weights = np.exp((errors[:, :1] - errors) / temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
