"""What every quantizer promises. A class joins by one line in QUANTIZERS."""

import copy
import itertools
import pickle
import threading
import zipfile

import numpy as np
import pytest
import reference_quantizers as twins

import vqfast

# Name: a function of options that makes a small one (8 codes, 3 code books).
QUANTIZERS = {
    "flat": lambda **options: vqfast.VectorQuantizer(8, **options),
    "product": lambda **options: vqfast.ProductQuantizer(3, 8, **options),
    "opq": lambda **options: vqfast.ProductQuantizer(3, 8, rotation="opq", **options),
    "residual": lambda **options: vqfast.ResidualQuantizer(3, 8, **options),
    "residual, greedy": lambda **options: vqfast.ResidualQuantizer(3, 8, beam=1, **options),
    "additive": lambda **options: vqfast.AdditiveQuantizer(3, 8, **options),
    "additive, high effort": lambda **options: vqfast.AdditiveQuantizer(3, 8, effort="high", beam=3, **options),
}

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=QUANTIZERS)
def make(request):
    return QUANTIZERS[request.param]


@pytest.fixture
def obs(dtype):
    """Correlated observations, not centred, of a number of features that 3 does not divide."""
    rng = np.random.default_rng(5)
    return (rng.normal(size=(600, 4)) @ rng.normal(size=(4, 10)) + 0.3 * rng.normal(size=(600, 10)) + 5).astype(dtype)


def state_of(quantizer):
    return {name: array.tobytes() for name, array in quantizer._arrays().items()}


# ---- the verbs ------------------------------------------------------------------------------------


def test_fit_encode_decode(make, obs):
    quantizer = make(rng=1)
    assert quantizer.fit(obs) is quantizer
    codes = quantizer.encode(obs)
    assert codes.shape == (600, quantizer.n_code_books)
    assert codes.dtype == np.uint8
    assert codes.max() < 8
    decoded = quantizer.decode(codes)
    assert decoded.shape == obs.shape
    assert decoded.dtype == obs.dtype
    assert all(book.dtype == obs.dtype for book in quantizer.code_books)
    error = np.square(obs.astype("f8") - decoded).sum(axis=1).mean()
    assert quantizer.distortion(obs) == pytest.approx(error, rel=1e-12)
    assert error < 0.75 * np.square(obs - obs.mean(axis=0)).sum(axis=1).mean()


def test_more_code_words_are_better(obs):
    def error(cls, *counts):
        return cls(*counts, rng=0).fit(obs).distortion(obs)

    assert error(vqfast.VectorQuantizer, 64) < error(vqfast.VectorQuantizer, 8)
    for cls in (vqfast.ProductQuantizer, vqfast.ResidualQuantizer, vqfast.AdditiveQuantizer):
        assert error(cls, 3, 64) < error(cls, 3, 8)
        assert error(cls, 5, 8) < error(cls, 2, 8)


@pytest.mark.parametrize("n_codes", [2, 3, 256, 257, 70])
def test_any_number_of_codes(make, n_codes, obs):
    quantizer = make(rng=1, workers=1)
    options = {name: getattr(quantizer, name) for name in quantizer._parameters} | {"n_codes": n_codes}
    quantizer = type(quantizer)(**options, rng=1).fit(obs[:300])
    codes = quantizer.encode(obs)
    assert codes.dtype == (np.uint8 if n_codes <= 256 else np.uint16)
    assert codes.max() < n_codes
    assert quantizer.decode(codes).shape == obs.shape


def test_65536_codes(rng):
    """The most; what is too large for a table goes the direct way."""
    books = rng.normal(size=(2, 65536, 3)).astype("f4")
    obs = rng.normal(size=(5, 3)).astype("f4")
    flat = vqfast.VectorQuantizer.from_code_books(books[:1])
    product = vqfast.ProductQuantizer.from_code_books(books)
    for quantizer in (flat, product, *(c.from_code_books(books) for c in SUMS)):
        wide = np.concatenate([obs, obs], axis=1) if quantizer is product else obs
        codes = quantizer.encode(wide)
        assert codes.dtype == np.uint16
        assert quantizer.distortion(wide) < 0.01


def test_from_code_books(make, obs):
    quantizer = make(rng=1).fit(obs)
    matrix = getattr(quantizer, "rotation_matrix", None)
    options = {} if matrix is None else {"rotation_matrix": matrix}
    options |= {name: getattr(quantizer, name) for name in ("beam", "effort") if hasattr(quantizer, name)}
    books = [book.copy() for book in quantizer.code_books]
    given = type(quantizer).from_code_books(books, **options)
    np.testing.assert_array_equal(given.encode(obs), quantizer.encode(obs))
    np.testing.assert_array_equal(given.decode(given.encode(obs)), quantizer.decode(quantizer.encode(obs)))
    assert not any(np.shares_memory(a, b) for a, b in zip(books, given.code_books, strict=True))


def test_partial_fit(make, obs):
    streamed = make(rng=1)
    streamed.partial_fit(obs[:200])  # the first call is a fit
    assert streamed == make(rng=1).fit(obs[:200])
    before = streamed.distortion(obs)
    for _ in range(3):
        for rows in (slice(200, 400), slice(400, 600)):
            assert streamed.partial_fit(obs[rows]) is streamed
    assert streamed.distortion(obs) < before
    assert all(book.dtype == obs.dtype for book in streamed.code_books)
    assert streamed.counts[0].sum() == pytest.approx(200 + 6 * 200)
    state = state_of(streamed)
    streamed.partial_fit(obs[:0])
    assert state_of(streamed) == state


def test_partial_fit_from_given_code_books(obs):
    """Words without a past become the means of their members."""
    book = obs[:4].copy()
    quantizer = vqfast.VectorQuantizer.from_code_books([book])
    codes = quantizer.encode(obs)[:, 0]
    quantizer.partial_fit(obs)
    expected = [obs[codes == k].mean(axis=0, dtype="f8") for k in range(4)]
    np.testing.assert_allclose(quantizer.code_books[0], expected, rtol=1e-5)


def test_no_observations(make, obs):
    quantizer = make(rng=1).fit(obs)
    assert quantizer.encode(obs[:0]).shape == (0, quantizer.n_code_books)
    assert quantizer.decode(np.empty((0, quantizer.n_code_books), np.uint8)).shape == (0, 10)


def test_equal_observations(make, dtype):
    """Fewer different observations than codes, or one alone."""
    for n_different in (1, 3):
        obs = np.repeat(np.arange(n_different * 4.0).reshape(-1, 4), 30, axis=0).astype(dtype)
        quantizer = make(rng=1).fit(obs)
        assert quantizer.distortion(obs) == pytest.approx(0, abs=1e-9)


def test_as_many_observations_as_codes(make, obs):
    assert make(rng=1).fit(obs[:8]).distortion(obs[:8]) < 1


# ---- reproducible ----------------------------------------------------------------------------------


def test_workers_change_nothing(make, obs, workers):
    expected, found = make(rng=3, workers=1).fit(obs), make(rng=3, workers=workers).fit(obs)
    assert state_of(found) == state_of(expected)
    np.testing.assert_array_equal(found.encode(obs), expected.encode(obs))
    expected.partial_fit(obs[:300])
    found.partial_fit(obs[:300])
    assert state_of(found) == state_of(expected)


def test_codes_depend_neither_on_position_nor_batch(make, obs, rng):
    quantizer = make(rng=3).fit(obs)
    codes, order = quantizer.encode(obs), rng.permutation(600)
    np.testing.assert_array_equal(quantizer.encode(obs[order]), codes[order])
    for rows in (slice(0, 1), slice(599, 600), slice(5, 77)):
        np.testing.assert_array_equal(quantizer.encode(obs[rows]), codes[rows])


def test_seeds(make, obs):
    assert make(rng=3).fit(obs) == make(rng=3).fit(obs)
    assert make(rng=3).fit(obs) != make(rng=4).fit(obs)
    assert make(rng=np.random.default_rng(3)).fit(obs) == make(rng=3).fit(obs)


def test_isa_changes_nothing(run_script):
    code = """
import hashlib, numpy as np, vqfast
rng = np.random.default_rng(0)
obs = rng.normal(size=(700, 3)) @ rng.normal(size=(3, 20)) + rng.normal(size=(700, 20))
for dtype in ("f4", "f8"):
    for quantizer in (vqfast.VectorQuantizer(16, rng=0), vqfast.ProductQuantizer(4, 16, rng=0),
                      vqfast.ProductQuantizer(4, 16, rotation="opq", rng=0),
                      vqfast.ResidualQuantizer(4, 16, rng=0), vqfast.AdditiveQuantizer(4, 16, rng=0)):
        rows = obs.astype(dtype)
        codes = quantizer.fit(rows).encode(rows)
        parts = [codes, quantizer.decode(codes), *quantizer.code_books]
        print(hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest())
"""
    from vqfast._core.machine import isa_supported

    outputs = {run_script(code, VQFAST_ISA=isa) for isa in isa_supported()}
    assert len(outputs) == 1


# ---- polite ------------------------------------------------------------------------------------------


def test_inputs_are_left_alone(make, obs):
    rows, quantizer = obs.copy(), make(rng=1)
    rows.setflags(write=False)
    quantizer.fit(rows).partial_fit(rows)
    codes = quantizer.encode(rows)
    codes.setflags(write=False)
    decoded = quantizer.decode(codes)
    assert not np.shares_memory(decoded, rows)
    assert not any(np.shares_memory(decoded, book) for book in quantizer.code_books)
    np.testing.assert_array_equal(rows, obs)


def test_any_array_will_do(make, obs, tmp_path):
    quantizer = make(rng=1).fit(obs)
    codes, path = quantizer.encode(obs), tmp_path / "obs.npy"
    np.save(path, obs)
    views = (obs.tolist(), np.asfortranarray(obs), np.repeat(obs, 2, axis=1)[:, ::2], np.load(path, mmap_mode="r"))
    for view in (*views, obs.astype(obs.dtype.newbyteorder(">"))):
        np.testing.assert_array_equal(quantizer.encode(view), codes)
        assert make(rng=1).fit(np.asarray(view, dtype=obs.dtype)) == quantizer
    whole = np.rint(obs).astype(np.uint8)
    np.testing.assert_array_equal(quantizer.encode(whole), quantizer.encode(whole.astype("f4")))
    for view in (codes.tolist(), codes.astype("i8"), np.asfortranarray(codes)):
        np.testing.assert_array_equal(quantizer.decode(view), quantizer.decode(codes))


def test_copies(make, obs):
    quantizer = make(rng=1).fit(obs)
    for twin in (copy.copy(quantizer), copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        assert twin == quantizer
        np.testing.assert_array_equal(twin.encode(obs), quantizer.encode(obs))
    assert quantizer != make(rng=1)
    assert quantizer != "quantizer"
    assert repr(quantizer).startswith(type(quantizer).__name__ + "(n_code")


def test_threads_share_a_quantizer(make, obs):
    quantizer, results = make(rng=1).fit(obs), []
    expected = quantizer.encode(obs)
    threads = [threading.Thread(target=lambda: results.append(quantizer.encode(obs))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(codes, expected) for codes in results)


def test_bad_input(make, obs):
    quantizer = make(rng=1)
    for call in (lambda: quantizer.encode(obs), lambda: quantizer.decode([[0, 0, 0]]), lambda: quantizer.n_features):
        with pytest.raises(ValueError, match="no code books yet"):
            call()
    quantizer.fit(obs)
    state = state_of(quantizer)
    with_nan = obs.copy()
    with_nan[3, 3] = np.nan
    for bad, message in (
        (obs[:, :5], "10 features"),
        (obs[0], "2-d"),
        (obs[None], "2-d"),
        (with_nan, "must not contain infs or NaNs"),
        (obs * 1j, "dtype"),
    ):
        for call in (quantizer.encode, quantizer.distortion, quantizer.partial_fit):
            with pytest.raises(ValueError, match=message):
                call(bad)
    for bad in (obs[:7], obs[:0], obs[0], with_nan, obs[:, :0]):
        with pytest.raises(ValueError, match=r"at least|2-d|infs"):
            quantizer.fit(bad)
    with pytest.raises(TypeError, match="real numbers"):
        quantizer.encode(obs.astype(str))
    codes = quantizer.encode(obs).astype(np.int64)
    for bad, message in ((codes[:, :0], "shape"), (codes[0], "shape"), (codes - 8, "lie in"), (codes + 8, "lie in")):
        with pytest.raises(ValueError, match=message):
            quantizer.decode(bad)
    with pytest.raises(TypeError, match="integers"):
        quantizer.decode(codes * 1.0)
    with pytest.raises(ValueError, match="at least one observation"):
        quantizer.distortion(obs[:0])
    assert state_of(quantizer) == state


def test_bad_parameters(make):
    cls = type(make())
    name = "n_codes" if cls is vqfast.VectorQuantizer else "n_code_books"
    with pytest.raises(ValueError, match=name):
        cls(0)
    with pytest.raises(TypeError, match=name):
        cls(2.5)
    for n_codes in (1, 0, 65537):
        with pytest.raises(ValueError, match="from 2 to 65536"):
            cls(n_codes=n_codes) if name == "n_codes" else cls(2, n_codes)
    with pytest.raises(ValueError, match="workers"):
        make(workers=0)
    for books, message in (
        ([], "at least one"),
        ([np.zeros(4)], "shape"),
        ([np.full((4, 2), np.inf)], "infs"),
        (np.zeros((4, 2)), "shape"),
        ([np.zeros((4, 2)), np.zeros((5, 2))], "same number of codes|one code book"),
        ([np.zeros((1, 2))], "from 2"),
    ):
        with pytest.raises(ValueError, match=message):
            cls.from_code_books(books)


def test_no_error_draws(make, obs):
    rng = np.random.default_rng(1)
    state = rng.bit_generator.state
    with pytest.raises(ValueError, match="at least"):
        make(rng=rng).fit(obs[:3])
    assert rng.bit_generator.state == state


# ---- files --------------------------------------------------------------------------------------------


def test_files(make, obs, tmp_path):
    quantizer, path = make(rng=1).fit(obs), tmp_path / "quantizer.npz"
    quantizer.save(path)
    found = type(quantizer).load(path, rng=1, workers=1)
    assert found == quantizer
    assert state_of(found) == state_of(quantizer)
    assert found.workers == 1
    np.testing.assert_array_equal(found.encode(obs), quantizer.encode(obs))
    found.partial_fit(obs)
    quantizer.partial_fit(obs)
    assert found == quantizer
    assert [file.name for file in tmp_path.iterdir()] == ["quantizer.npz"]
    with np.load(path, allow_pickle=False) as arrays:
        assert "code_book_0" in arrays


def test_damaged_files(make, obs, tmp_path):
    """Cut, changed and foreign files are refused, or hold what was written."""
    quantizer, path, rng = make(rng=1).fit(obs), tmp_path / "quantizer.npz", np.random.default_rng(0)
    quantizer.save(path)
    whole = path.read_bytes()

    def load(contents):
        path.write_bytes(contents)
        return type(quantizer).load(path)

    for size in (0, 1, 3, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="is not a file of a vqfast quantizer"):
            load(whole[:size])
    refused = 0
    for _ in range(300):
        contents = bytearray(whole)
        contents[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        try:
            assert load(bytes(contents)) == quantizer  # a date may have changed
        except ValueError:
            refused += 1
    assert refused > 200
    for _ in range(100):
        with pytest.raises(ValueError, match="is not a file of a vqfast quantizer"):
            load(whole[: rng.integers(len(whole))] + rng.bytes(50))
    for foreign in (b"PK\x03\x04", rng.bytes(5000), b"\x93NUMPY" + rng.bytes(100), pickle.dumps([1, 2])):
        with pytest.raises(ValueError, match="is not a file of a vqfast quantizer"):
            load(foreign)
    with pytest.raises(FileNotFoundError):
        type(quantizer).load(tmp_path / "none.npz")


def test_files_of_something_else(make, obs, tmp_path):
    quantizer, path = make(rng=1).fit(obs), tmp_path / "quantizer.npz"
    quantizer.save(path)
    others = {type(make(rng=1)) for make in QUANTIZERS.values()} - {type(quantizer)}
    for cls in others:
        with pytest.raises(ValueError, match=f"holds a {type(quantizer).__name__}, not a {cls.__name__}"):
            cls.load(path)
    with np.load(path) as file:
        arrays = dict(file)
    changes = {
        "code_book_0": [None, np.zeros(3), np.zeros((7, 10)), np.full_like(arrays["code_book_0"], np.nan)],
        "counts_0": [None, np.zeros(3), np.full(8, -1.0), np.full(8, np.nan)],
        "header": [None, np.zeros(3), np.frombuffer(b"{}", np.uint8), np.frombuffer(b"[1]", np.uint8)],
        "more": [np.zeros(3)],
    }
    if "rotation_matrix" in arrays:
        changes["rotation_matrix"] = [None, np.eye(3), np.full((10, 10), 0.5), np.full((10, 10), np.nan)]
    for name, values in changes.items():
        for value in values:
            np.savez(path, **{k: v for k, v in {**arrays, name: value}.items() if v is not None})
            with pytest.raises(ValueError):  # noqa: PT011
                type(quantizer).load(path)
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match="compressed"):
        type(quantizer).load(path)
    np.savez(path, **arrays, objects=np.array([{}, 1], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        type(quantizer).load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.txt", "text")
    with pytest.raises(ValueError, match="not an array"):
        type(quantizer).load(path)


def test_a_failed_save_leaves_the_old_file(make, obs, tmp_path, monkeypatch):
    quantizer, path = make(rng=1).fit(obs), tmp_path / "quantizer.npz"
    quantizer.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", lambda *args, **arrays: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quantizer.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="no code books"):
        make().save(path)


# ---- what each of them is for ----------------------------------------------------------------------------

SUMS = (vqfast.ResidualQuantizer, vqfast.AdditiveQuantizer)


def test_product_codes_are_exact(obs):
    quantizer = vqfast.ProductQuantizer(3, 8, rng=0).fit(obs)
    assert [book.shape[1] for book in quantizer.code_books] == [4, 3, 3]
    assert quantizer.splits == [slice(0, 4), slice(4, 7), slice(7, 10)]
    codes = quantizer.encode(obs)
    np.testing.assert_array_equal(codes, twins.encode_product(quantizer.code_books, obs))
    np.testing.assert_array_equal(quantizer.decode(codes), twins.decode_product(quantizer.code_books, codes))


def test_given_splits_may_be_of_any_width(rng):
    books = [rng.normal(size=(8, width)) for width in (1, 5, 2)]
    quantizer = vqfast.ProductQuantizer.from_code_books(books)
    obs = rng.normal(size=(50, 8))
    np.testing.assert_array_equal(quantizer.encode(obs), twins.encode_product(books, obs))


def test_rotated_codes(obs):
    quantizer = vqfast.ProductQuantizer(3, 8, rotation="opq", rng=0).fit(obs)
    matrix = quantizer.rotation_matrix
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(10), atol=1e-12)
    codes = quantizer.encode(obs)
    np.testing.assert_array_equal(codes, twins.encode_product(quantizer.code_books, twins.rotate(obs, matrix)))
    decoded = twins.rotate(twins.decode_product(quantizer.code_books, codes), matrix.T)
    np.testing.assert_array_equal(quantizer.decode(codes), decoded)


def test_a_rotation_helps_where_features_are_mixed(rng):
    """Two independent planes, their features interleaved."""
    obs = rng.normal(size=(4000, 2))[:, [0, 1, 0, 1]] + 0.1 * rng.normal(size=(4000, 4))
    plain = vqfast.ProductQuantizer(2, 16, rng=0).fit(obs).distortion(obs)
    assert vqfast.ProductQuantizer(2, 16, rotation="opq", rng=0).fit(obs).distortion(obs) < 0.7 * plain
    with pytest.raises(ValueError, match="rotation must be"):
        vqfast.ProductQuantizer(2, 16, rotation="pca")
    with pytest.raises(ValueError, match="orthogonal"):
        vqfast.ProductQuantizer.from_code_books([obs[:4]], rotation_matrix=2 * np.eye(4))
    with pytest.raises(ValueError, match=r"rotation_matrix must be \(4, 4\)"):
        vqfast.ProductQuantizer.from_code_books([obs[:4]], rotation_matrix=np.eye(3))


def test_more_code_books_than_features(obs):
    for cls in SUMS:
        assert cls(12, 4, rng=0).fit(obs).distortion(obs) < 5
    with pytest.raises(ValueError, match="at least n_code_books=12 features"):
        vqfast.ProductQuantizer(12, 4).fit(obs)


@pytest.mark.parametrize("cls", SUMS)
def test_sums_are_those_of_the_words(cls, obs):
    quantizer = cls(4, 16, rng=0).fit(obs)
    codes = quantizer.encode(obs)
    np.testing.assert_array_equal(quantizer.decode(codes), twins.decode_sum(quantizer.code_books, codes, obs.dtype))
    with pytest.raises(ValueError, match="same number of features"):
        cls.from_code_books([np.zeros((4, 2)), np.zeros((4, 3))])


def test_residual_training_never_gets_worse(obs):
    for beam in (1, 5):
        quantizer = vqfast.ResidualQuantizer(4, 16, beam=beam, rng=0).fit(obs)
        steps = quantizer.training_distortions
        assert len(steps) > 2
        assert all(later <= earlier for earlier, later in itertools.pairwise(steps))


def test_a_wider_beam_is_better(obs):
    books = vqfast.ResidualQuantizer(5, 16, rng=0).fit(obs).code_books
    errors = [vqfast.ResidualQuantizer.from_code_books(books, beam=b).distortion(obs) for b in (1, 4, 32)]
    assert errors == sorted(errors, reverse=True)


def test_greedy_residual_codes(rng):
    """Stage by stage the nearest word of what is left: ties and last bits apart."""
    books = [rng.normal(size=(16, 6)) * scale for scale in (4, 2, 1)]
    obs = rng.normal(size=(400, 6)) * 5
    rest, expected = obs.copy(), []
    for book in books:
        expected.append(((rest[:, None] - book) ** 2).sum(axis=2).argmin(axis=1))
        rest -= book[expected[-1]]
    codes = vqfast.ResidualQuantizer.from_code_books(books, beam=1).encode(obs)
    assert (codes == np.transpose(expected)).all(axis=1).mean() > 0.99


@pytest.mark.parametrize("effort", ["default", "high"])
def test_additive_is_never_worse_than_its_start(obs, effort):
    product = vqfast.ProductQuantizer(3, 8, rng=0).fit(obs)
    residual = vqfast.ResidualQuantizer(3, 8, rng=0).fit(obs)
    starts = [product.sum_code_books(), residual.code_books, "product", "opq", None]
    errors = []
    for start in starts:
        quantizer = vqfast.AdditiveQuantizer(3, 8, start=start, effort=effort, rng=0).fit(obs)
        steps = quantizer.training_distortions
        assert quantizer.distortion(obs) <= steps[0]
        errors.append(quantizer.distortion(obs))
    assert min(errors) < residual.distortion(obs) < product.distortion(obs)
    assert errors[-1] < product.distortion(obs)


def test_additive_where_a_product_is_best(rng):
    """Independent features: nothing to win, and nothing may be lost."""
    for shape, n_codes in (((500, 2), 16), ((500, 3), 32)):
        obs = rng.uniform(size=shape)
        product = vqfast.ProductQuantizer(shape[1], n_codes, rng=0).fit(obs)
        start = product.sum_code_books()
        quantizer = vqfast.AdditiveQuantizer(shape[1], n_codes, start=start, rng=0).fit(obs)
        assert quantizer.distortion(obs) <= product.distortion(obs) * (1 + 1e-12)


def test_additive_parameters(obs):
    for options, message in (
        ({"effort": "most"}, "effort must be one of 'default', 'high'"),
        ({"start": "random"}, "start must be"),
        ({"start": [np.zeros((8, 2))]}, "3 code books of 8 codes"),
        ({"beam": 0}, "beam"),
    ):
        with pytest.raises(ValueError, match=message):
            vqfast.AdditiveQuantizer(3, 8, **options)
    with pytest.raises(ValueError, match="features of start"):
        vqfast.AdditiveQuantizer(3, 8, start=np.zeros((3, 8, 4))).fit(obs)


def test_books_too_large_for_joint_equations(obs, monkeypatch):
    import vqfast._quantizers._additive as additive
    import vqfast._quantizers._least_squares as least_squares

    for module in (additive, least_squares):
        monkeypatch.setattr(module, "MOST_JOINT_WORDS", 1)
    start = vqfast.ProductQuantizer(3, 8, rng=0).fit(obs).distortion(obs)
    for quantizer in (vqfast.AdditiveQuantizer(3, 8, rng=0), vqfast.ResidualQuantizer(3, 8, rng=0)):
        error = quantizer.fit(obs).distortion(obs)
        assert error < 1.1 * start
        quantizer.partial_fit(obs)
        assert quantizer.distortion(obs) < 1.1 * error


@pytest.mark.parametrize("correlation", [0.8, 0.95])
def test_additive_code_books_of_correlated_features_are_better_than_residual_ones(correlation):
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(8000, 16))
    for j in range(1, 16):
        obs[:, j] = correlation * obs[:, j - 1] + np.sqrt(1 - correlation**2) * obs[:, j]
    learn, test = obs[:6000], obs[6000:]
    residual = vqfast.ResidualQuantizer(4, 16, rng=0).fit(learn)
    additive = vqfast.AdditiveQuantizer(4, 16, effort="high", rng=0).fit(learn)
    assert additive.distortion(test) < residual.distortion(test)
