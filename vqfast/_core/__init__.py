"""The compiled core: Cython drivers over C microkernels.

::

    _assign, _kmeans, ..., _lvq  public modules: validated arrays come down
        |
    lloyd ──► passes                  drivers: scratch, blocks, threads, signals; means of sums;
    lloyd ──► tiles                   fits of few features
    lloyd, parts ──► nearest          the nearest code words; the codes of all parts of product codes
    nearest ──► integers, directions  the scan in integers, and what it may look at
    least_squares ──► additive        sums of code words: tables, search, normal equations
    search ──► packed_codes           the nearest codes of queries
    lvq                               runs of online steps
                 |
    machine                           instruction set, compiler, threads; arrays as kernels see them
    team.h, team.pxd                  how threads share a job and end it
    kernels.pxd (the contract as Cython sees it)
                 |
    kernels/     kernels.h            the contract: layouts, order of sums, error band
                 kernels.c            one instruction set; compiled once for each, from
                   code_book.inc.h      packing of a code book
                   scan.inc.h           the float32 scans
                   int16.inc.h          a filter in front of the lanes, for 16-bit products
                   integers*.inc.h          the scan in integers, with bounds (contract: integers.h)
                   tiles.inc.h          fits of few features (contract: tiles.h)
                   few.inc.h            the search of few observations, nothing packed
                   few_codes.inc.h      codes and distances in one pass for few codes of few features
                   direct.inc.h         decisions by the double formula
                   obs*.inc.h           what reads observations; included for float and double
                   lvq.h lvq*.inc.h     learning vector quantization: contract, sums, steps, passes
                   additive*.inc.h      sums of code words (contract: additive.h); tuples.inc.h, the
                                        search for them, included for integers and double
                   search*.inc.h        the search among codes (contract: search.h)
                   simd.h               the dozen vector operations, per instruction set
                 dispatch.c           which instruction set this CPU runs

Arrows run downward only. A driver trusts its arguments: shapes, types and finiteness
are checked above, in ``vqfast._validation``.
"""

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES

# Run from a checkout, Python finds this file in it, while the compiled modules lie in the
# installed package: look there as well.
if not any(os.path.exists(os.path.join(__path__[0], "nearest" + suffix)) for suffix in EXTENSION_SUFFIXES):
    _installed = (os.path.join(entry, "vqfast", "_core") for entry in sys.path if entry)
    __path__ += [folder for folder in _installed if os.path.isdir(folder) and folder not in __path__]
