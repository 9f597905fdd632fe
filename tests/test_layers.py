"""The depth in the tree is the layer, and every import points down."""

import ast
import re
import sys

import pytest

import vqfast

# Module: what of the package it may import. Not named here means not allowed.
BELOW_PUBLIC = {"_core.nearest", "_core.means", "_core.passes", "_validation"}
PUBLIC_QUANTIZERS = ("_additive", "_flat", "_packing", "_product", "_residual")
SUM_QUANTIZERS = {"_core.additive", "_validation"} | {
    f"_quantizers.{name}" for name in ("_base", "_least_squares", "_sums")
}
ALLOWED = {
    "__init__": {"_assign", "_config", "_kmeans", "_lvq", "_quantizers"},
    "_config": {"_core", "_validation"},
    "_assign": {"_core.few", "_core.nearest", "_validation"},
    "_kmeans": BELOW_PUBLIC | {"_assign", "_core.lloyd", "_seeding"},
    "_seeding": {"_core.nearest", "_core.seeds", "_validation"},
    "_lvq.__init__": {"_lvq.cost", "_lvq.metric", "_lvq.online"},
    "_lvq.metric": {"_core.lvq", "_core.nearest", "_validation", "_lvq.data"}
    | {f"_lvq.{name}" for name in ("cost", "margins", "parameters")},
    "_lvq.cost": {"_core.lvq", "_lvq.base", "_lvq.data", "_lvq.margins", "_lvq.parameters"},
    "_lvq.online": {"_core.lvq", "_lvq.margins", "_lvq.parameters"},
    "_lvq.margins": {"_core.lvq", "_lvq.base"},
    "_lvq.base": {"_core.lvq", "_core.nearest", "_validation"}
    | {f"_lvq.{name}" for name in ("conventions", "data", "parameters", "start")},
    "_lvq.parameters": set(),
    "_lvq.start": {f"_core.{name}" for name in ("lloyd", "means", "nearest", "seeds")}
    | {"_seeding", "_lvq.conventions", "_lvq.data"},
    "_lvq.data": {"_core.means", "_core.lvq", "_core.nearest", "_validation", "_lvq.conventions"},
    "_lvq.conventions": set(),
    "_quantizers.__init__": {f"_quantizers.{name}" for name in PUBLIC_QUANTIZERS},
    "_quantizers._additive": SUM_QUANTIZERS | {"_quantizers._product", "_quantizers._residual"},
    "_quantizers._residual": SUM_QUANTIZERS | {"_quantizers._progressive", "_quantizers._training"},
    "_quantizers._sums": {
        "_core.additive",
        "_validation",
        "_quantizers._base",
        "_quantizers._least_squares",
        "_quantizers._search",
    },
    "_quantizers._flat": {"_quantizers._search", "_quantizers._base", "_quantizers._product", "_quantizers._training"},
    "_quantizers._product": {
        "_quantizers._search",
        "_validation",
        "_quantizers._base",
        "_quantizers._opq",
        "_quantizers._training",
    },
    "_quantizers._opq": {"_core.least_squares", "_validation", "_quantizers._training"},
    "_quantizers._base": {"_validation", "_quantizers._files"},
    "_quantizers._files": set(),
    "_quantizers._least_squares": {"_core.additive", "_core.least_squares", "_validation"},
    "_quantizers._search": {"_core.search", "_validation", "_quantizers._base"},
    "_quantizers._packing": {"_quantizers._base"},
    "_quantizers._progressive": {"_validation", "_quantizers._training"},
    "_quantizers._training": BELOW_PUBLIC | {"_core.parts"},
    "_validation": {"_core.machine", "_core.passes"},
    "_core.__init__": set(),
    "_core.kernels": {"kernels.h"},
    "_core.team": {"team.h"},
    "_core.memory": {"memory.h"},
    "_core.integers": {"integers.h", "_core.kernels", "_core.memory", "_core.team"},
    "_core.directions": set(),
    "_core.machine": {"_core.kernels", "_core.team"},
    "_core.few": {"_core.kernels", "_core.machine"},
    "_core.nearest": {
        "_core.directions",
        "_core.integers",
        "_core.kernels",
        "_core.machine",
        "_core.memory",
        "_core.team",
    },
    "_core.passes": {"_core.kernels", "_core.machine", "_core.team"},
    "_core.seeds": {"seeds.h", "_core.integers", "_core.kernels", "_core.machine", "_core.memory", "_core.team"},
    "_core.tiles": {"tiles.h", "_core.kernels", "_core.memory", "_core.team"},
    "_core.parts": {"_core.kernels", "_core.machine", "_core.memory", "_core.nearest", "_core.team"},
    "_core.means": {"_core.kernels", "_core.memory", "_core.team", "_core.nearest", "_core.passes", "_core.tiles"},
    "_core.lloyd": {"_core.kernels", "_core.means", "_core.team", "_core.nearest", "_core.tiles"},
    "_core.lvq": {"lvq.h", "_core.kernels", "_core.machine", "_core.memory", "_core.team"},
    "_core.additive": {"additive.h", "_core.kernels", "_core.machine", "_core.memory", "_core.team"},
    "_core.packed_codes": {"search.h", "_core.kernels", "_core.machine", "_core.team"},
    "_core.search": {"_core.kernels", "_core.machine", "_core.memory", "_core.packed_codes", "_core.team"},
    "_core.least_squares": {"_core.kernels", "_core.machine", "_core.team", "_core.additive"},
}
ADAPTERS = {"__main__", "torch", "dask"}  # nothing imports them; they may import the package
THIRD_PARTY = {"numpy"}
# Imported in a function, by this module alone.
OPTIONAL = {"_lvq.conventions": {"sklearn"}, "_quantizers._least_squares": {"scipy"}}
HEADERS = {
    f"{name}.pxd": [f"{name}.h"]
    for name in ("additive", "integers", "kernels", "lvq", "memory", "seeds", "team", "tiles")
} | {"packed_codes.pxd": ["search.h"]}
C_HEADERS = {"float.h", "stddef.h", "stdint.h", "stdlib.h", "string.h", "math.h", "immintrin.h", "arm_neon.h"}

CIMPORT = re.compile(
    r"^[ \t]*from[ \t]+([.\w]+)[ \t]+c?import[ \t]+(?:\(([^)]*)\)|([^#\n]*))|^[ \t]*c?import[ \t]+([.\w]+)", re.M
)
EXTERN = re.compile(r'^cdef extern from "([^"]+)"', re.M)


def modules(root):
    """Name (without the package's) and path of every source file of the package."""
    package = root / "vqfast"
    for pattern in ("*.py", "_lvq/*.py", "_quantizers/*.py", "_core/*.py", "_core/*.pyx", "_core/*.pxd"):
        for path in sorted(package.glob(pattern)):
            yield ".".join(path.relative_to(package).with_suffix("").parts), path


def imports_of(path):
    """(number of dots, module, names) of every import, at any depth of the file."""
    text = path.read_text()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from ((0, alias.name, []) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.level, node.module or "", [alias.name for alias in node.names]
        return
    text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    for module, bracketed, names, plain in CIMPORT.findall(text):
        dots = len(module) - len(module.lstrip("."))
        yield dots, (module or plain).lstrip("."), [name for name in re.split(r"[\s,]+", bracketed or names) if name]


def targets(module, root, dots, imported, names):
    """Modules of the package that an import reaches."""
    if not dots:
        if imported.split(".")[0] == "vqfast":
            yield imported.removeprefix("vqfast").lstrip(".") or "__init__"
        return
    base = module.split(".")[:-dots] + ([imported] if imported else [])
    if imported:
        inside = root.joinpath("vqfast", *base)
        submodules = [
            name for name in names if any((inside / f"{name}{end}").exists() for end in (".py", ".pyx", ".pxd"))
        ]
        yield from (".".join([*base, name]) for name in submodules)
        if not submodules:
            yield ".".join(base)
        return
    for name in names:
        candidate = root.joinpath("vqfast", *base, name)
        found = candidate.is_dir() or any(candidate.with_suffix(end).exists() for end in (".py", ".pyx", ".pxd"))
        yield ".".join([*base, name]) if found else ".".join([*base, "__init__"])


def test_arrows_point_down(root):
    seen = set()
    for module, path in modules(root):
        if module in ADAPTERS:
            continue
        seen.add(module)
        for dots, imported, names in imports_of(path):
            for target in targets(module, root, dots, imported, names):
                allowed = ALLOWED[module] | {module}  # a .pyx and its .pxd
                assert any(target == a or target.startswith(f"{a}.") for a in allowed), f"{path} imports {target}"
    assert seen == set(ALLOWED), "every module has a row in ALLOWED"


def test_arrows_have_no_cycle():
    """Each module is above all that it may import."""

    def depth(module, above=()):
        assert module not in above, f"{' -> '.join([*above, module])}"
        below = [m for m in ALLOWED.get(module, ()) if m in ALLOWED]
        return 1 + max((depth(m, (*above, module)) for m in below), default=0)

    for module in ALLOWED:
        depth(module)


def test_other_packages(root):
    for module, path in modules(root):
        if module in ADAPTERS:
            continue
        for dots, imported, _ in imports_of(path):
            top = imported.split(".")[0]
            if not dots and top not in {"vqfast", "cython", "libc", "cpython", *sys.stdlib_module_names}:
                assert top in THIRD_PARTY | OPTIONAL.get(module, set()), f"{path} imports {imported}"


def test_nobody_imports_the_adapters(root):
    for module, path in modules(root):
        for dots, imported, names in imports_of(path):
            for target in targets(module, root, dots, imported, names):
                assert target.split(".")[0] not in ADAPTERS - {module}, f"{path} imports {target}"


def test_kernels_know_neither_python_nor_threads(root):
    sources = [path for path in (root / "vqfast" / "_core" / "kernels").iterdir() if path.suffix in {".c", ".h"}]
    own = {path.name for path in sources}
    assert len(sources) > 5
    for path in sources:
        text = path.read_text()
        for system, local in re.findall(r'#\s*include\s*(?:<([^>]+)>|"([^"]+)")', text):
            assert system in C_HEADERS or local in own, f"{path} includes {system or local}"
        assert not re.search(r"\b(malloc|calloc|realloc|free|omp_\w+|Py\w+_\w+)\s*\(|#\s*pragma\s+omp", text), path
        is_dispatch = path.name == "dispatch.c"
        assert bool(re.search(r"__builtin_cpu_supports|getauxval|cpuid", text)) <= is_dispatch, path


def test_threads_are_started_in_the_drivers_alone(root):
    for _, path in modules(root):
        if path.suffix != ".pyx":
            assert "prange" not in path.read_text(), path
    for path in (root / "vqfast").rglob("*.py"):
        assert not {"threading", "multiprocessing", "concurrent"} & {m.split(".")[0] for _, m, _ in imports_of(path)}, (
            path
        )


def test_headers_are_declared_once(root):
    for _, path in modules(root):
        found = [header for header in EXTERN.findall(path.read_text()) if header.endswith(".h")]
        assert found == HEADERS.get(path.name, []), path


def test_every_source_is_installed(root):
    listed = (root / "meson.build").read_text() + (root / "vqfast" / "_core" / "meson.build").read_text()
    for module, path in modules(root):
        if path.suffix == ".py":
            assert f"{path.name}'" in listed, path
        elif path.suffix == ".pyx":
            assert f"'{module.split('.')[-1]}'" in listed, path
    for path in (root / "vqfast").rglob("*.pyi"):
        assert path.name in listed, path


def test_public_names():
    functions = [
        "ClusterError",
        "kmeans",
        "kmeans2",
        "pack_codes",
        "py_vq",
        "show_config",
        "unpack_codes",
        "vq",
        "whiten",
    ]
    lvq = ["GLVQ", "GMLVQ", "LVQ1", "LVQ3", "LVQ21", "OLVQ1", "RSLVQ"]
    quantizers = ["AdditiveQuantizer", "ProductQuantizer", "ResidualQuantizer", "VectorQuantizer"]
    assert sorted(vqfast.__all__) == sorted(quantizers + lvq + functions)
    public = {name for name in vars(vqfast) if not name.startswith("_")}
    assert public == set(vqfast.__all__)


def test_no_private_module_is_named_like_a_function(root):
    names = {path.stem.lstrip("_") for path in (root / "vqfast").glob("_*.py")} - {"kmeans"}
    assert not names & set(vqfast.__all__)


@pytest.mark.parametrize("package", ["scipy", "torch", "dask", "PIL", "sklearn", "matplotlib", "tqdm", "joblib"])
def test_importing_vqfast_imports_numpy_alone(run_script, package):
    code = f"import sys, vqfast\nprint(any(name.split('.')[0] == '{package}' for name in sys.modules))"
    assert run_script(code) == "False\n"


def test_using_vqfast_imports_no_scipy(run_script):
    code = """
import sys, vqfast, numpy as np
x = np.random.default_rng(0).random((50, 2))
vqfast.vq(vqfast.whiten(x), x[:2]), vqfast.kmeans(x, 2)
[vqfast.kmeans2(x, 2, minit=minit) for minit in ("random", "points", "++")]
[getattr(vqfast, name)(2).fit(x, x[:, 0] > 0.5).predict(x) for name in ("LVQ1", "OLVQ1", "LVQ21", "LVQ3")]
[getattr(vqfast, name)(2).fit(x, x[:, 0] > 0.5).predict(x) for name in ("GLVQ", "GMLVQ", "RSLVQ")]
print("scipy" in sys.modules)
"""
    assert run_script(code) == "False\n"
