"""The shell command: what it writes, prints and refuses."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("tqdm")

import vqfast  # noqa: E402
from vqfast import __main__ as command  # noqa: E402

DEFAULT_ROUNDS = command.ROUNDS


@pytest.fixture(autouse=True)
def work_folder(tmp_path, monkeypatch):
    """An empty current folder, and few rounds: the command is tested, not k-means."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "ROUNDS", 3)
    return tmp_path


def samples(bands, height=20, width=31, high=256, dtype=np.uint8):
    shape = (height, width, bands) if bands > 1 else (height, width)
    return np.random.default_rng(bands).integers(0, high, shape).astype(dtype)


def saved(name, array, **options):
    """Save an array as an image; its name."""
    Image.fromarray(array).save(name, **options)
    return name


def run(capsys, *argv):
    """Exit status, standard output, standard error."""
    status = command.main(["compress", *map(str, argv)])
    return status, *capsys.readouterr()


def expected(pixels, k, rounds=3):
    """The compressed picture by the plain road: SciPy's colours, rounded."""
    kmeans2 = pytest.importorskip("scipy.cluster.vq").kmeans2
    pixels = pixels.reshape(-1, pixels.shape[2] if pixels.ndim == 3 else 1).astype(float)
    # The order of the different colours is that of the little-endian number their bytes make.
    colours = np.unique(pixels[:, ::-1], axis=0)[:, ::-1]
    start = np.random.default_rng(command.SEED).choice(colours, min(k, len(colours)), replace=False)
    book, _ = kmeans2(pixels, start, iter=rounds, minit="matrix")
    codes = ((pixels[:, None, :] - book) ** 2).sum(axis=2).argmin(axis=1)
    return np.clip(np.rint(book), 0, 255).astype(np.uint8), codes


def row(out, name):
    """The words of a line of the report after its name."""
    (line,) = [line for line in out.splitlines() if line.startswith(name + " ")]
    return line[len(name) :].split()


# ---- the compressed picture -----------------------------------------------------------------


def test_photo_is_written_as_code_book_and_codes(capsys):
    pixels = samples(3)
    status, out, err = run(capsys, saved("photo.bmp", pixels), "-k", 16)
    assert (status, err) == (0, "")
    book, codes = expected(pixels, 16)
    with Image.open("photo-16.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "P", (31, 20))
        assert image.getpalette()[: book.size] == book.ravel().tolist()
        np.testing.assert_array_equal(np.asarray(image).ravel(), codes)
    assert "photo.bmp: 31 x 20 pixels, 3 bytes each" in out
    assert f"photo-16.png ({os.path.getsize('photo-16.png'):,} bytes" in out


def test_default_number_of_rounds_is_twenty():
    assert DEFAULT_ROUNDS == 20


def test_report_counts_colours_bytes_and_quality(capsys):
    pixels = samples(3)
    _, out, _ = run(capsys, saved("photo.bmp", pixels), "-k", 10)
    book, codes = expected(pixels, 10)
    n_codes = -(-20 * 31 * 4 // 8)  # ten code words need 4 bits
    assert row(out, "colours") == [str(len(np.unique(pixels.reshape(-1, 3), axis=0))), "10"]
    assert row(out, "bytes")[:3] == ["1,860", str(30 + n_codes), f"{1860 / (30 + n_codes):.1f}"]
    assert f"= 30 code book + {n_codes} codes of 4 bits" in out
    error = pixels.reshape(-1, 3) - book[codes].astype(float)
    assert row(out, "quality")[:2] == [f"{10 * np.log10(255**2 / (error**2).mean()):.2f}", "dB"]


def test_report_compares_with_scipy(capsys):
    _, out, _ = run(capsys, saved("photo.bmp", samples(3)), "-k", 16)
    assert " ".join(row(out, "same result")) == "yes all 620 codes, code book to 1e-12"
    assert re.search(r"^k-means, 3 rounds +[\d.]+ m?s +[\d.]+ m?s   (about the same|[\d.]+ times \w+)$", out, re.M)
    assert len(out.splitlines()) <= 13
    assert max(map(len, out.splitlines())) <= 100


def test_report_says_how_many_codes_differ(capsys, monkeypatch):
    def astray(obs, code_book, **options):
        code_book, codes = vqfast.kmeans2(obs, code_book, **options)
        codes[:2] += 1
        return code_book + 0.25, codes

    monkeypatch.setattr("scipy.cluster.vq.kmeans2", astray)
    monkeypatch.setattr(command, "ROUNDS", 1)
    _, out, _ = run(capsys, saved("photo.bmp", samples(3)), "-k", 16)
    result = " ".join(row(out, "same result"))
    assert result == "no 2 of 620 codes differ, code book differs by up to 2.5e-01"


def test_a_call_a_round_equals_one_call():
    obs = samples(3).reshape(-1, 3).astype(float)
    whole_book, whole_codes = vqfast.kmeans2(obs, obs[:8], iter=3, minit="matrix")
    done = command._race(obs, obs[:8])["vqfast"]
    np.testing.assert_array_equal(done.code_book, whole_book)
    np.testing.assert_array_equal(done.codes, whole_codes)


def test_more_colours_than_a_palette_holds(capsys):
    pixels = samples(3)
    assert run(capsys, saved("photo.bmp", pixels), "-k", 300)[0] == 0
    book, codes = expected(pixels, 300)
    with Image.open("photo-300.png") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image).reshape(-1, 3), book[codes])


def test_out_is_written_where_asked_and_replaced(capsys, work_folder):
    photo = saved("photo.bmp", samples(3))
    (work_folder / "there").mkdir()
    for k in (4, 2):
        assert run(capsys, photo, "-k", k, "-o", "there/small")[0] == 0
    with Image.open("there/small") as image:
        assert len(np.unique(np.asarray(image))) == 2
    assert os.listdir("there") == ["small"]
    assert sorted(os.listdir()) == ["photo.bmp", "there"]


# ---- every kind of image --------------------------------------------------------------------


def decoded(name, mode):
    with Image.open(name) as image:
        return np.asarray(image.convert(mode))


@pytest.mark.parametrize(("bands", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("k", [1, 7, 256, 400])
def test_grey_and_alpha(capsys, bands, mode, k):
    pixels = samples(bands)
    status, out, err = run(capsys, saved("in.png", pixels), "-k", k, "-o", "out.png")
    assert (status, err) == (0, "")
    book, codes = expected(pixels, k)
    np.testing.assert_array_equal(decoded("out.png", mode), book[codes].reshape(pixels.shape))
    assert row(out, "bytes")[0] == f"{pixels.size:,}"


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_other_modes_are_read_as_eight_bits_a_band(capsys, mode):
    if mode in ("I;16", "I", "F"):
        array = samples(1, high=65536, dtype={"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
        array.flat[:2] = 0, 65535
        image, grey = Image.fromarray(array), np.rint(array.astype(float) / 257).astype(np.uint8)
    else:
        image = Image.fromarray(samples(3)).convert(mode)
        grey = None
    assert image.mode == mode
    image.save("in.tif")
    status, out, err = run(capsys, "in.tif", "-k", 65536, "-o", "out.png")
    assert (status, err) == (0, "")
    # So many colours that none is lost: the output is the input, read as 8 bits a band.
    target = "L" if mode in ("1", "I;16", "I", "F") else "RGB"
    before = grey if grey is not None else decoded("in.tif", target)
    np.testing.assert_array_equal(decoded("out.png", target), before)
    assert ("brought to 8 bits" in out) == (grey is not None)
    assert " ".join(row(out, "quality")) == "same every pixel as before"


def test_float_samples_need_not_be_finite(capsys):
    saved("in.tif", np.array([[0, 1, np.nan, np.inf, -np.inf]], dtype=np.float32))
    assert run(capsys, "in.tif", "-o", "out.png")[0] == 0
    np.testing.assert_array_equal(decoded("out.png", "L"), [[0, 255, 0, 255, 0]])


def test_transparent_palette(capsys):
    image = Image.frombytes("P", (4, 1), bytes([0, 1, 2, 1]))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save("in.png", transparency=bytes([0, 128, 255]))
    assert run(capsys, "in.png", "-o", "out.png")[0] == 0
    np.testing.assert_array_equal(decoded("out.png", "RGBA"), decoded("in.png", "RGBA"))
    assert decoded("out.png", "RGBA")[0, :, 3].tolist() == [0, 128, 255, 128]


def test_fewer_colours_than_k(capsys):
    pixels = np.repeat(samples(3, height=1, width=5), 6, axis=0)
    status, out, _ = run(capsys, saved("in.png", pixels), "-o", "out.png")
    assert status == 0
    assert "Note: it has only 5 colours, so the code book has 5, not 256." in out
    assert row(out, "colours") == ["5", "5"]
    assert row(out, "quality")[0] == "same"
    np.testing.assert_array_equal(decoded("out.png", "RGB"), pixels)


def test_one_pixel(capsys):
    status, out, err = run(capsys, saved("in.png", np.full((1, 1, 3), 7, dtype=np.uint8)))
    assert (status, err) == (0, "")
    assert row(out, "bytes")[:2] == ["3", "3"]
    assert "it has only 1 colour, so" in out
    assert "0 codes of 0 bits" in out
    assert decoded("in-256.png", "RGB").tolist() == [[[7, 7, 7]]]


def test_default_image(capsys):
    pytest.importorskip("sklearn")
    status, out, err = run(capsys, "-k", 2)
    assert (status, err) == (0, "")
    assert out.startswith("china.jpg: 640 x 427 pixels")
    assert os.listdir() == ["china-2.png"]


# ---- what is refused ------------------------------------------------------------------------


def refused(capsys, *argv):
    """The error, after checking that it is one line and that nothing was left behind."""
    before = sorted(os.listdir())
    status, out, err = run(capsys, *argv)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"vqfast compress: error: [^\n]+\n", err), err
    assert sorted(os.listdir()) == before
    return err


@pytest.mark.parametrize("k", [0, -1, 65537])
def test_k_out_of_range(capsys, k):
    assert f"-k must be from 1 to 65536, got {k}" in refused(capsys, saved("in.png", samples(3)), "-k", k)


def test_unreadable_input(capsys, work_folder):
    assert "missing.png: No such file" in refused(capsys, "missing.png")
    assert f"{work_folder}: Is a directory" in refused(capsys, work_folder)
    for content in (b"", b"not an image", bytes(range(256)) * 9):
        (work_folder / "broken.png").write_bytes(content)
        assert "broken.png: not an image that Pillow knows" in refused(capsys, "broken.png")


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.gif", "in.tif", "in.bmp"])
def test_damaged_input(capsys, work_folder, name):
    saved(name, samples(3))
    whole = (work_folder / name).read_bytes()
    (work_folder / name).write_bytes(whole[: len(whole) // 2])
    assert f"cannot read {name}: " in refused(capsys, name)


def test_unwritable_output(capsys, work_folder):
    photo = saved("in.png", samples(3))
    (work_folder / "folder.png").mkdir()
    assert "folder.png: it is not a regular file" in refused(capsys, photo, "-o", "folder.png")
    assert "there is no folder" in refused(capsys, photo, "-o", "missing/out.png")
    assert "there is no folder" in refused(capsys, photo, "-o", "in.png/out.png")
    assert "too long" in refused(capsys, photo, "-o", "x" * 300 + ".png")
    assert "end its name in .png" in refused(capsys, photo, "-o", "out.jpg")
    assert "not a regular file" in refused(capsys, photo, "-o", os.devnull)


def test_output_folder_without_permission(capsys, monkeypatch):
    photo = saved("in.png", samples(3))
    monkeypatch.setattr(os, "access", lambda *_: False)  # a locked folder would not stop root
    assert "no permission to write" in refused(capsys, photo, "-o", "out.png")


def test_input_is_never_overwritten(capsys):
    photo = saved("in.png", samples(3))
    os.symlink(photo, "link.png")
    for out in ("in.png", "./in.png", "link.png"):
        assert "it is the input" in refused(capsys, photo, "-o", out)
    assert "it is the input" in refused(capsys, "link.png", "-o", "in.png")


def test_failed_write_leaves_the_old_file(capsys, monkeypatch, work_folder):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    photo = saved("in.png", samples(3))
    (work_folder / "out.png").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    assert "out.png: No space left on device" in refused(capsys, photo, "-o", "out.png")
    assert (work_folder / "out.png").read_bytes() == b"old"


@pytest.mark.parametrize("module", ["PIL.Image", "tqdm", "sklearn"])
def test_missing_extra(capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert 'is missing: pip install "vqfast[demo]"' in refused(capsys)


def test_not_enough_memory(capsys, monkeypatch):
    def starve(*_):
        raise MemoryError

    monkeypatch.setattr(command, "_race", starve)
    assert "not enough memory" in refused(capsys, saved("in.png", samples(3)))


def test_name_that_cannot_be_printed(capsys):
    assert r"cannot read a\nb\udcff.png" in refused(capsys, "a\nb\udcff.png")


# ---- the shell around it --------------------------------------------------------------------


def test_interrupt(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    photo = saved("in.png", samples(3))
    monkeypatch.setattr(command.Run, "step", interrupt)
    assert run(capsys, photo) == (130, "", "vqfast compress: interrupted\n")
    assert os.listdir() == ["in.png"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_bar_on_a_terminal_only(capsys, monkeypatch):
    photo = saved("in.png", samples(3))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert run(capsys, photo, "-k", 4)[0] == 0
    assert "k-means" in sys.stderr.getvalue()
    assert sys.stderr.getvalue().endswith("\r")  # wiped away


def test_help_and_version(capsys):
    assert command.main([]) == 0
    assert "compress" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exited:
        command.main(["--version"])
    assert exited.value.code == 0
    assert capsys.readouterr().out == f"vqfast {vqfast.__version__}\n"


@pytest.mark.parametrize("argv", [["compress", "-k", "many"], ["compress", "a", "b"], ["expand"]])
def test_usage_error(capsys, argv):
    with pytest.raises(SystemExit) as exited:
        command.main(argv)
    assert exited.value.code == 2
    assert "usage: python -m vqfast" in capsys.readouterr().err


def test_as_a_program():
    photo = saved("photo.png", samples(3))
    done = subprocess.run(
        [sys.executable, "-m", "vqfast", "compress", photo, "-k", "8"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert row(done.stdout, "same result")[0] == "yes"
    assert sorted(os.listdir()) == ["photo-8.png", "photo.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and signals")
def test_reader_that_has_gone():
    photo = saved("photo.png", samples(3))
    program = [sys.executable, "-m", "vqfast", "compress", photo, "-k", "8"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, b"")


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and signals")
def test_interrupted_program():
    photo = saved("photo.png", samples(3, height=600, width=600))
    script = """if True:
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        from vqfast import __main__ as command
        race = command._race
        command.ROUNDS = 10**6
        command._race = lambda *args: (print(flush=True), race(*args))[1]
        sys.exit(command.main())
    """
    program = [sys.executable, "-c", script]
    with subprocess.Popen(
        [*program, "compress", photo, "-k", "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert (process.wait(60), process.stderr.read()) == (130, b"vqfast compress: interrupted\n")
    assert os.listdir() == ["photo.png"]
