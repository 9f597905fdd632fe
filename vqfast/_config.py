"""What this build is and what it runs on."""

from __future__ import annotations

from ._core import machine
from ._validation import resolve_workers

__version__ = "0.1.0"


def show_config() -> None:
    """Print version, compiler, OpenMP, instruction sets and workers.

    The instruction set is chosen once at import: the best that this CPU runs, or the one
    that the environment variable ``VQFAST_ISA`` names. Results do not depend on it.

    Examples
    --------
    >>> import vqfast
    >>> vqfast.show_config()  # doctest: +ELLIPSIS
    vqfast ...
    workers by default: ...
    """
    openmp = machine.openmp()
    rows = {
        f"vqfast {__version__}": None,
        "compiler": machine.compiler(),
        "OpenMP": f"yes ({openmp})" if openmp else "no (everything runs on one thread)",
        "ISA in use": machine.isa_in_use(),
        "ISAs built": ", ".join(machine.isa_built()),
        "workers by default": str(resolve_workers(None)),
    }
    for name, value in rows.items():
        print(name if value is None else f"{name}: {value}")
