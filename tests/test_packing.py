"""Codes as strings of bits: the inverse, the layout, faiss's own."""

import numpy as np
import pytest

from vqfast import ProductQuantizer, pack_codes, unpack_codes

BITS = (1, 3, 4, 5, 8, 9, 12, 16)


def packed_slowly(codes, n_bits):
    """One bit after another."""
    n, n_books = codes.shape
    packed = np.zeros((n, -(-n_books * n_bits // 8)), dtype=np.uint8)
    for i in range(n):
        for m in range(n_books):
            for b in range(n_bits):
                place = m * n_bits + b
                packed[i, place // 8] |= (int(codes[i, m]) >> b & 1) << place % 8
    return packed


@pytest.mark.parametrize("n_bits", BITS)
@pytest.mark.parametrize("n_books", [1, 2, 3, 7, 16])
def test_layout_and_inverse(n_bits, n_books, rng):
    for n in (0, 1, 5):
        codes = rng.integers(0, 1 << n_bits, (n, n_books))
        packed = pack_codes(codes, n_bits)
        np.testing.assert_array_equal(packed, packed_slowly(codes, n_bits))
        back = unpack_codes(packed, n_books, n_bits)
        np.testing.assert_array_equal(back, codes)
        assert back.dtype == (np.uint8 if n_bits <= 8 else np.uint16)


def test_many_rows(rng):
    codes = rng.integers(0, 1 << 10, (10_000, 3), dtype=np.uint16)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes, 10), 3, 10), codes)
    strided = np.repeat(codes, 2, axis=1)[::-1, ::2].astype(">u2")
    np.testing.assert_array_equal(pack_codes(strided, 10), pack_codes(codes, 10)[::-1])


@pytest.mark.parametrize("n_bits", BITS)
def test_faiss_packs_the_same(n_bits, rng):
    faiss = pytest.importorskip("faiss")
    codes = rng.integers(0, 1 << n_bits, (50, 7)).astype(np.int32)
    packed = pack_codes(codes, n_bits)
    np.testing.assert_array_equal(packed, faiss.pack_bitstrings(codes, n_bits))
    np.testing.assert_array_equal(unpack_codes(faiss.pack_bitstrings(codes, n_bits), 7, n_bits), codes)


@pytest.mark.parametrize("n_bits", [4, 6, 8, 9])
def test_faiss_decodes_the_same(n_bits, rng):
    faiss = pytest.importorskip("faiss")
    obs = rng.normal(size=(600, 12)).astype("f4")
    theirs = faiss.ProductQuantizer(12, 3, n_bits)
    theirs.cp.niter, theirs.cp.min_points_per_centroid = 3, 1
    theirs.train(obs)
    books = faiss.vector_to_array(theirs.centroids).reshape(3, 1 << n_bits, 4)
    ours = ProductQuantizer.from_code_books(books)
    packed = theirs.compute_codes(obs)
    np.testing.assert_array_equal(ours.decode(unpack_codes(packed, 3, n_bits)), theirs.decode(packed))
    np.testing.assert_array_equal(theirs.decode(pack_codes(ours.encode(obs), n_bits)), ours.decode(ours.encode(obs)))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pack_codes([[256]], 8), ValueError, r"codes must lie in \[0, 256\)"),
        (lambda: pack_codes([[-1]], 8), ValueError, "codes must lie"),
        (lambda: pack_codes([[0.5]], 8), TypeError, "codes must be integers"),
        (lambda: pack_codes([1, 2], 8), ValueError, "codes must be 2-d"),
        (lambda: pack_codes([[1]], 0), ValueError, "n_bits must be from 1 to 16"),
        (lambda: pack_codes([[1]], 17), ValueError, "n_bits must be from 1 to 16"),
        (lambda: pack_codes([[1]], 2.0), TypeError, "n_bits must be an integer"),
        (lambda: unpack_codes([[1]], 1, 8), TypeError, "packed must be an array of bytes"),
        (lambda: unpack_codes(np.zeros((2, 3), np.uint8), 5, 4.0), TypeError, "n_bits"),
        (lambda: unpack_codes(np.zeros((2, 2), np.uint8), 5, 4), ValueError, "packed must have 3 bytes a row"),
        (lambda: unpack_codes(np.zeros((2, 2), np.uint8), 0, 4), ValueError, "n_code_books must be at least 1"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
