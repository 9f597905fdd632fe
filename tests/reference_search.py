"""Slow NumPy twins of the search among codes, written from kernels/search.h alone."""

import numpy as np
import reference


def rotated(obs, rotation):
    """obs @ rotation, each sum in the order of the features."""
    obs = np.asarray(obs, dtype=np.float64)
    total = np.zeros((len(obs), rotation.shape[1]))
    for j in range(obs.shape[1]):
        total += obs[:, j, None] * rotation[j]
    return total


def product_sq_dists(queries, code_books, codes):
    """Tables of squared distances to the words of each book, added from the first to the last."""
    queries = np.asarray(queries, dtype=np.float64)
    total, start = None, 0
    for m, book in enumerate(code_books):
        table = reference.sq_dists(queries[:, start : start + book.shape[1]], book)
        start += book.shape[1]
        terms = table[:, codes[:, m]]
        total = terms if total is None else total + terms
    return total


def sum_sq_dists(queries, code_books, codes):
    """Squared distances to the sums of code words, in the type of the code books."""
    vectors = np.zeros((len(codes), code_books[0].shape[1]))
    for m, book in enumerate(code_books):
        vectors += book[codes[:, m]]
    return reference.sq_dists(queries, vectors.astype(code_books[0].dtype))


def nearest_codes(sq_dists, k):
    """The k smallest of each row by (distance, index); -1 and inf where there are fewer."""
    n_queries, n = sq_dists.shape
    indices, found = np.full((n_queries, k), -1), np.full((n_queries, k), np.inf)
    order = np.lexsort((np.broadcast_to(np.arange(n), sq_dists.shape), sq_dists), axis=1)[:, :k]
    indices[:, : order.shape[1]] = order
    found[:, : order.shape[1]] = np.take_along_axis(sq_dists, order, axis=1)
    return indices, found
