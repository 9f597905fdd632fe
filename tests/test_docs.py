"""The docstrings hold: examples run, sections are there, stubs name what is compiled."""

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import vqfast
import vqfast._core

PUBLIC = [getattr(vqfast, name) for name in vqfast.__all__]
FUNCTIONS = [function for function in PUBLIC if not inspect.isclass(function)]
CLASSIFIERS = [cls for cls in PUBLIC if hasattr(cls, "fit")]
METHODS = [
    getattr(cls, name)
    for cls in CLASSIFIERS
    if not hasattr(cls, "encode")
    for name in dir(cls)
    if not name.startswith("_") and inspect.isfunction(getattr(cls, name))
]
QUANTIZERS = [cls for cls in CLASSIFIERS if hasattr(cls, "encode")]
CLASSIFIERS = [cls for cls in CLASSIFIERS if cls not in QUANTIZERS]
COMPILED_NAMES = ("nearest", "few", "passes", "lloyd", "lvq", "additive", "least_squares", "search")
COMPILED = [f"vqfast._core.{name}" for name in COMPILED_NAMES]


def sections(function):
    return re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.getdoc(function), re.M)


@pytest.mark.parametrize("function", FUNCTIONS + QUANTIZERS + CLASSIFIERS, ids=lambda function: function.__name__)
def test_examples(function):
    examples = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    output = []
    with np.printoptions(legacy=False):
        for example in examples:
            runner.run(example, out=output.append)
    assert not runner.summarize(verbose=False).failed, "".join(output)
    assert runner.summarize(verbose=False).attempted > 0


@pytest.mark.parametrize("function", FUNCTIONS + QUANTIZERS, ids=lambda function: function.__name__)
def test_sections(function):
    found = sections(function)
    parameters = inspect.signature(function).parameters
    assert "Examples" in found
    if parameters:
        assert "Parameters" in found
        assert ("Attributes" if function in QUANTIZERS else "Returns") in found
    order = ["Parameters", "Attributes", "Returns", "Raises", "Warns", "See Also", "Notes", "References", "Examples"]
    assert found == [section for section in order if section in found]


@pytest.mark.parametrize("cls", CLASSIFIERS, ids=lambda cls: cls.__name__)
def test_sections_of_classes(cls):
    found = ["Parameters", "Attributes", "Raises", "Notes", "References", "Examples"]
    assert sections(cls) == found
    doc = inspect.getdoc(cls)
    parameters, attributes = (doc.partition(f"{name}\n---")[2].partition("\n\n")[0] for name in found[:2])
    listed = re.findall(r"^(\w+) : ", parameters, re.M)
    assert listed == [name for name in inspect.signature(cls).parameters]
    fitted = cls(random_state=0).fit([[0.0, 1.0], [2.0, 3.0]], [0, 1])
    public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    public |= {name for name in dir(cls) if name.endswith("_") and not name.startswith("_")}
    assert set(re.findall(r"^(\w+) : ", attributes, re.M)) == public


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_sections_of_methods(method):
    found = sections(method)
    order = ["Parameters", "Returns", "Raises", "Warns", "See Also", "Notes", "References", "Examples"]
    assert found == [section for section in order if section in found]
    assert found[:2] == ["Parameters", "Returns"]
    names = [name.lstrip("*") for name in inspect.signature(method).parameters if name != "self"]
    doc = inspect.getdoc(method)
    listed = re.findall(
        r"^\*{0,2}(\w[\w, ]*?)(?: : .*)?$", doc.partition("Parameters\n")[2].partition("Returns\n")[0], re.M
    )
    assert [name for line in listed for name in re.split(r",\s*", line)] == names


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_parameter_is_documented(function):
    doc = inspect.getdoc(function)
    end = "Attributes\n" if function in QUANTIZERS else "Returns\n"
    listed = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", doc.partition("Parameters\n")[2].partition(end)[0], re.M)
    names = [name for line in listed for name in re.split(r",\s*", line)]
    assert names == list(inspect.signature(function).parameters), names


@pytest.mark.parametrize("function", FUNCTIONS + CLASSIFIERS + METHODS, ids=lambda function: function.__qualname__)
def test_first_line(function):
    first, _, rest = inspect.getdoc(function).partition("\n")
    assert first.endswith(".")
    assert len(first) < 80
    assert rest.startswith("\n")


@pytest.mark.parametrize("cls", QUANTIZERS, ids=lambda cls: cls.__name__)
def test_every_method_is_documented(cls):
    for name, method in inspect.getmembers(cls, lambda member: inspect.isroutine(member)):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name
            parameters = [p for p in inspect.signature(method).parameters if p != "self"]
            doc = inspect.getdoc(method)
            assert all(re.search(rf"^[\w, ]*\b{p}\b[\w, ]* : ", doc, re.M) for p in parameters), (name, parameters)


@pytest.mark.parametrize("name", COMPILED)
def test_stubs_name_what_is_compiled(name):
    module = importlib.import_module(name)
    stub = Path(vqfast._core.__file__).with_name(name.rpartition(".")[2] + ".pyi")
    tree = ast.parse(stub.read_text())
    stubbed, members = set(), {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            stubbed.add(node.name)
        elif isinstance(node, ast.ClassDef):
            stubbed.add(node.name)
            members[node.name] = {
                item.name if isinstance(item, ast.FunctionDef) else item.target.id
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AnnAssign)
            }
        elif isinstance(node, ast.AnnAssign):
            stubbed.add(node.target.id)

    def is_own(value):
        return getattr(value, "__module__", name) == name and not inspect.ismodule(value)

    assert stubbed == {key for key, value in vars(module).items() if not key.startswith("_") and is_own(value)}
    for cls, names in members.items():
        compiled = {key for key in vars(getattr(module, cls)) if not key.startswith("_")}
        assert names - {"__init__"} == compiled, cls


def test_every_private_function_says_what_it_does():
    lvq = [f"_lvq.{path.stem}" for path in Path(vqfast.__file__).parent.glob("_lvq/[a-z]*.py")]
    for name in ("_assign", "_kmeans", "_seeding", "_validation", "_config", "_lvq", *lvq):
        module = importlib.import_module(f"vqfast.{name}")
        assert module.__doc__, name


def test_show_config(capsys):
    vqfast.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"vqfast {vqfast.__version__}"
    keys = [line.partition(":")[0] for line in lines[1:]]
    assert keys == ["compiler", "OpenMP", "ISA in use", "ISAs built", "workers by default"]


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert vqfast.__version__ == version("vqfast")


def test_types_are_shipped():
    assert Path(vqfast.__file__).with_name("py.typed").exists()


def test_version_is_the_one_of_the_build(root):
    declared = re.search(r"version: '([^']+)'", (root / "meson.build").read_text())
    assert declared
    assert vqfast.__version__ == declared[1]


def test_readme_is_finished(root):
    assert "@@" not in (root / "README.md").read_text()
