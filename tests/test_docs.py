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

FUNCTIONS = [getattr(vqfast, name) for name in vqfast.__all__ if name != "ClusterError"]
CLASSES = [function for function in FUNCTIONS if inspect.isclass(function)]
COMPILED = ["vqfast._core.nearest", "vqfast._core.lloyd", "vqfast._core.additive", "vqfast._core.least_squares"]
COMPILED += ["vqfast._core.search"]


def sections(function):
    return re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.getdoc(function), re.M)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_examples(function):
    examples = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    output = []
    with np.printoptions(legacy=False):
        for example in examples:
            runner.run(example, out=output.append)
    assert not runner.summarize(verbose=False).failed, "".join(output)
    assert runner.summarize(verbose=False).attempted > 0


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_sections(function):
    found = sections(function)
    parameters = inspect.signature(function).parameters
    assert "Examples" in found
    if parameters:
        assert "Parameters" in found
        assert ("Attributes" if function in CLASSES else "Returns") in found
    order = ["Parameters", "Attributes", "Returns", "Raises", "Warns", "See Also", "Notes", "References", "Examples"]
    assert found == [section for section in order if section in found]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_parameter_is_documented(function):
    doc = inspect.getdoc(function)
    end = "Attributes\n" if function in CLASSES else "Returns\n"
    listed = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", doc.partition("Parameters\n")[2].partition(end)[0], re.M)
    names = [name for line in listed for name in re.split(r",\s*", line)]
    assert names == list(inspect.signature(function).parameters), names


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_first_line(function):
    first, _, rest = inspect.getdoc(function).partition("\n")
    assert first.endswith(".")
    assert len(first) < 80
    assert rest.startswith("\n")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
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
    for name in ("_assign", "_kmeans", "_seeding", "_validation", "_config"):
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
