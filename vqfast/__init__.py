"""Vector quantization on the CPU at the speed of the hardware, with exact answers.

A drop-in for ``scipy.cluster.vq``: change the import, get the same results faster.
"""

from ._assign import ClusterError, py_vq, vq, whiten
from ._config import __version__ as __version__
from ._config import show_config
from ._kmeans import kmeans, kmeans2
from ._lvq import GLVQ, GMLVQ, LVQ1, LVQ3, LVQ21, OLVQ1, RSLVQ
from ._quantizers import (
    AdditiveQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
    pack_codes,
    unpack_codes,
)

__all__ = [
    "GLVQ",
    "GMLVQ",
    "LVQ1",
    "LVQ3",
    "LVQ21",
    "OLVQ1",
    "RSLVQ",
    "AdditiveQuantizer",
    "ClusterError",
    "ProductQuantizer",
    "ResidualQuantizer",
    "VectorQuantizer",
    "kmeans",
    "kmeans2",
    "pack_codes",
    "py_vq",
    "show_config",
    "unpack_codes",
    "vq",
    "whiten",
]
