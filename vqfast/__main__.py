"""The shell command: ``python -m vqfast compress`` squeezes a photograph into a code book and codes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vqfast

DEFAULT_K = 256
MAX_K = 65536
ROUNDS = 20
SEED = 0
TOLERANCE = 1e-12  # relative difference up to which two code books count as the same
PALETTE_SIZE = 256  # what a PNG palette holds at most

_INTERRUPTED = 130  # what shells report for a program ended by SIGINT ...
_BROKEN_PIPE = 141  # ... and by SIGPIPE


class CommandError(Exception):
    """What went wrong, in one line for the user."""


@dataclass(frozen=True)
class Picture:
    """The pixels of an image as observations: 8-bit samples, one pixel a row."""

    pixels: NDArray[np.uint8]
    mode: str  # Pillow's word for the bands: L, LA, RGB or RGBA
    width: int
    height: int
    note: str = ""  # what had to be changed to get here

    @property
    def n_bands(self) -> int:
        """Samples of a pixel."""
        return len(self.mode)


@dataclass
class Run:
    """One library's k-means: where it stands and how long it took to get there."""

    kmeans2: Callable[..., tuple[NDArray[np.float64], NDArray[np.int32]]]
    code_book: NDArray[np.float64]
    codes: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    seconds: float = 0.0

    def step(self, obs: NDArray[np.float64]) -> None:
        """One more round."""
        begin = time.perf_counter()
        self.code_book, self.codes = self.kmeans2(obs, self.code_book, iter=1, minit="matrix")
        self.seconds += time.perf_counter() - begin


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    name = f"vqfast {args.command}" if args.command else "vqfast"
    try:
        return _print(args.run(args) if args.command else parser.format_help())
    except CommandError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print(f"{name}: error: not enough memory", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vqfast", usage="python -m vqfast [-h] [--version] COMMAND ...", description="Fast vector quantization."
    )
    parser.add_argument("--version", action="version", version=f"vqfast {vqfast.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    compress = commands.add_parser(
        "compress",
        prog="vqfast compress",
        usage="python -m vqfast compress [-h] [IMAGE] [-k K] [-o OUT]",
        help="compress the colours of a picture, timed against SciPy",
        description="Reduce the colours of a picture to K by k-means, write the result as PNG, and compare "
        f"vqfast with SciPy: the same {ROUNDS} rounds from the same start.",
    )
    compress.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="default: scikit-learn's china.jpg")
    compress.add_argument("-k", type=int, default=DEFAULT_K, help=f"number of colours, 1 to {MAX_K} (default: 256)")
    compress.add_argument("-o", dest="out", type=Path, metavar="OUT", help="default: IMAGE's name with -K.png, here")
    compress.set_defaults(run=_compress)
    return parser


def _print(text: str) -> int:
    """Print to stdout, whatever it can show; the exit status."""
    if sys.stdout is None:  # closed by the caller
        return 0
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.rstrip("\n").encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        # Python flushes once more at exit, which must not complain again.
        with contextlib.suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _BROKEN_PIPE
        raise CommandError(f"cannot write to standard output: {error.strerror}") from error
    return 0


# ---- compress -------------------------------------------------------------------------------


def _compress(args: argparse.Namespace) -> str:
    """Compress a picture; the report."""
    if not 1 <= args.k <= MAX_K:
        raise CommandError(f"-k must be from 1 to {MAX_K}, got {args.k}")
    _extra("PIL.Image", "Pillow")
    _extra("tqdm", "tqdm")
    source = args.image or _default_image()
    picture = _read(source)
    out = args.out or Path(f"{source.stem}-{args.k}.png")
    _check_destination(source, out)
    colours = _distinct(picture.pixels)
    k = min(args.k, len(colours))
    start = np.random.default_rng(SEED).choice(colours, k, replace=False).astype(np.float64)
    runs = _race(picture.pixels.astype(np.float64), start)
    code_book = np.clip(np.rint(runs["vqfast"].code_book), 0, 255).astype(np.uint8)
    # kmeans2 returns the codes of the book before the last update; the picture deserves those after it.
    codes, _ = vqfast.vq(picture.pixels, runs["vqfast"].code_book)
    _write(out, _encode(picture, code_book, codes))
    lines = [
        f"{_shown(source.name)}: {picture.width} x {picture.height} pixels, {_count(picture.n_bands, 'byte')} each",
        *_notes(picture, args.k, k),
        "",
        *_report_size(picture, len(colours), code_book, codes),
        "",
        *_report_race(runs),
        "",
        f"Written: {_shown(out)} ({out.stat().st_size:,} bytes, as PNG packs it once more)",
    ]
    return "\n".join(lines)


def _extra(module: str, project: str) -> Any:
    """Import a module that only this command needs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CommandError(f'{project} is missing: pip install "vqfast[demo]"') from error


def _default_image() -> Path:
    """scikit-learn's photograph, found without importing scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise CommandError('no IMAGE given and scikit-learn, which has one, is missing: pip install "vqfast[demo]"')
    return Path(spec.submodule_search_locations[0], "datasets", "images", "china.jpg")


def _read(path: Path) -> Picture:
    """Read any image that Pillow knows."""
    pil = _extra("PIL.Image", "Pillow")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, sizes: the pixels are what counts
            with pil.open(path) as image:
                image.load()
                return _picture(image)
    except pil.UnidentifiedImageError as error:
        raise CommandError(f"cannot read {_shown(path)}: not an image that Pillow knows") from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder that meets a broken file may raise anything
        raise CommandError(f"cannot read {_shown(path)}: {_reason(error)}") from error


def _picture(image: Any) -> Picture:
    """The pixels of a Pillow image in one of the four modes that PNG can hold with 8 bits."""
    note = ""
    if image.mode[0] in "IF":
        mode, note = "L", f"Note: samples of more than 8 bits (mode {image.mode}) were brought to 8 bits first."
        samples = _eight_bits(np.asarray(image), image.mode)
    else:
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        mode += "A" if image.has_transparency_data else ""
        samples = np.asarray(image.convert(mode))
    width, height = image.size
    if samples.size == 0:
        raise ValueError("it has no pixels")
    return Picture(np.ascontiguousarray(samples).reshape(width * height, len(mode)), mode, width, height, note)


def _eight_bits(samples: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """16-bit grey by its full range; wider and floating grey, which has none, by its own."""
    values = samples.astype(np.float64)
    finite = values[np.isfinite(values)]
    if mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    else:
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    values = np.clip(np.nan_to_num(values, nan=low), low, high)
    return np.rint((values - low) * (255 / (high - low or 1))).astype(np.uint8)


def _check_destination(source: Path, out: Path) -> None:
    """Refuse before the long work what could not be written after it, and the source itself."""
    try:
        obstacle = _obstacle(source, Path(os.path.realpath(out)))
    except OSError as error:  # a name too long, a folder that may not be searched
        obstacle = _reason(error)
    if obstacle:
        raise CommandError(f"cannot write {_shown(out)}: {obstacle}")


def _obstacle(source: Path, target: Path) -> str:
    """Why the target cannot be written, empty if it can."""
    if target.exists():
        if target.samefile(source):
            return "it is the input; choose another name with -o"
        if not target.is_file():  # os.replace would put a file in a device's place
            return "it is not a regular file"
    if target.suffix.lower() not in (".png", ""):
        return "the output is a PNG; end its name in .png"
    if not target.parent.is_dir():
        return f"there is no folder {_shown(target.parent)}"
    if not os.access(target.parent, os.W_OK):
        return f"no permission to write in {_shown(target.parent)}"
    return ""


def _distinct(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The different colours."""
    # Sorting one integer a pixel is many times faster than np.unique(axis=0).
    packed = np.zeros((len(pixels), 4), dtype=np.uint8)
    packed[:, : pixels.shape[1]] = pixels
    colours = np.unique(packed.view(np.uint32)).view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(colours[:, : pixels.shape[1]])


def _race(obs: NDArray[np.float64], start: NDArray[np.float64]) -> dict[str, Run]:
    """Run both libraries side by side, a round each in turn, and time the rounds alone.

    A call a round gives the same bits as one call for all rounds, leaves room for the
    progress bar outside the clock, and spreads the machine's moods over both.
    """
    scipy_vq = _extra("scipy.cluster.vq", "SciPy")
    runs = {"SciPy": Run(scipy_vq.kmeans2, start), "vqfast": Run(vqfast.kmeans2, start)}
    bar = _extra("tqdm", "tqdm").tqdm(
        total=ROUNDS * len(runs), desc="k-means", unit="round", leave=False, file=sys.stderr, disable=None
    )
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty clusters: both libraries leave their code words where they are
        for run in runs.values():
            run.kmeans2(start, start, iter=1, minit="matrix")  # starts threads, loads libraries
        for _ in range(ROUNDS):
            for run in runs.values():
                run.step(obs)
                bar.update()
    return runs


def _encode(picture: Picture, code_book: NDArray[np.uint8], codes: NDArray[np.int32]) -> bytes:
    """PNG: palette and codes as they are, or plain pixels if there are more than a palette holds."""
    pil = _extra("PIL.Image", "Pillow")
    size = picture.width, picture.height
    options: dict[str, Any] = {}
    if len(code_book) <= PALETTE_SIZE:
        image = pil.frombytes("P", size, codes.astype(np.uint8).tobytes())
        n_alpha = picture.mode.endswith("A")
        colour = code_book[:, : picture.n_bands - n_alpha]
        image.putpalette(np.broadcast_to(colour, (len(code_book), 3)).tobytes())
        if n_alpha:
            options["transparency"] = code_book[:, -1].tobytes()
    else:
        image = pil.frombytes(picture.mode, size, code_book[codes].tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    return file.getvalue()


def _write(out: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    target = Path(os.path.realpath(out))
    temporary = target.with_name(f".vqfast-{os.getpid()}.tmp")
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write {_shown(out)}: {_reason(error)}") from error


# ---- the report -----------------------------------------------------------------------------


def _notes(picture: Picture, asked: int, k: int) -> list[str]:
    few = f"Note: it has only {_count(k, 'colour')}, so the code book has {k}, not {asked}." if k < asked else ""
    return [note for note in (picture.note, few) if note]


def _report_size(picture: Picture, n_colours: int, code_book: NDArray[np.uint8], codes: NDArray[np.int32]) -> list[str]:
    """What compression gained and what it cost."""
    n_left = len(_distinct(code_book[np.unique(codes)]))
    bits = (len(code_book) - 1).bit_length()
    before, book_bytes, code_bytes = picture.pixels.size, code_book.size, -(-len(codes) * bits // 8)
    after = book_bytes + code_bytes
    psnr = _psnr(picture.pixels, code_book[codes])
    quality = "same" if psnr == np.inf else f"{psnr:.2f} dB"
    return [
        _row("", "before", "after", ""),
        _row("colours", f"{n_colours:,}", f"{n_left:,}", ""),
        _row("bytes", f"{before:,}", f"{after:,}", _times(before / after, "smaller", "larger")),
        _row("", "", "", f"= {book_bytes:,} code book + {code_bytes:,} codes of {_count(bits, 'bit')}"),
        _row("quality", "", quality, "every pixel as before" if psnr == np.inf else "PSNR; more is better"),
    ]


def _report_race(runs: dict[str, Run]) -> list[str]:
    """How long both libraries took, and whether they agree."""
    scipy, ours = runs["SciPy"], runs["vqfast"]
    n_differ = int(np.count_nonzero(scipy.codes != ours.codes))
    difference = np.abs(scipy.code_book - ours.code_book)
    same_book = bool((difference <= TOLERANCE * np.abs(scipy.code_book)).all())
    codes = f"{n_differ:,} of {ours.codes.size:,} codes differ" if n_differ else f"all {ours.codes.size:,} codes"
    book = f"code book to {TOLERANCE:g}" if same_book else f"code book differs by up to {difference.max():.1e}"
    ratio = _times(scipy.seconds / ours.seconds, "faster", "slower")
    return [
        _row("", "SciPy", "vqfast", ""),
        _row(f"k-means, {_count(ROUNDS, 'round')}", _duration(scipy.seconds), _duration(ours.seconds), ratio),
        _row("same result", "", "no" if n_differ or not same_book else "yes", f"{codes}, {book}"),
    ]


def _psnr(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, over all bands."""
    error = np.subtract(before, after, dtype=np.float64)
    mean_square = float(np.mean(np.square(error, out=error)))
    return float(10 * np.log10(255**2 / mean_square)) if mean_square else float("inf")


def _row(name: str, left: str, right: str, remark: str) -> str:
    return f"{name:<18}{left:>12}{right:>12}   {remark}".rstrip()


def _times(ratio: float, more: str, less: str) -> str:
    if f"{ratio:.1f}" == "1.0":
        return "about the same"
    return f"{ratio:.1f} times {more}" if ratio > 1 else f"{1 / ratio:.1f} times {less}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds:.3f} s" if seconds >= 0.01 else f"{seconds * 1e3:.2f} ms"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _reason(error: Exception) -> str:
    """An exception in one line, without the file name that the message has already."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return _shown(" ".join(text.split()))


def _shown(text: Path | str) -> str:
    """A name that fits in one line of any terminal: what cannot be printed is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


if __name__ == "__main__":
    sys.exit(main())
