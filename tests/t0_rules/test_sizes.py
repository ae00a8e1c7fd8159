"""A file that passes these sizes knows too much about something: split it, don't raise the limit."""

from __future__ import annotations

from tests.support.sources import Source, functions, sources

FILE_LINES = 450
FUNCTION_LINES = 70


def test_no_file_is_too_long() -> None:
    long = {
        source.path: count for source in sources(".py", ".pyx") if (count := len(source.text.splitlines())) > FILE_LINES
    }
    assert not long


def test_no_function_is_too_long() -> None:
    long = {
        f"{function.where} {function.name}": function.lines
        for source in sources(".py", ".pyx")
        for function in functions(source)
        if function.lines > FUNCTION_LINES
    }
    assert not long


def test_every_file_says_first_what_it_knows() -> None:
    silent = [
        source.path
        for source in sources(".py", ".pyx")
        if source.text.strip() and not source.text.lstrip().startswith(('"""', "#!"))
    ]
    assert not silent


def test_the_rule_can_count() -> None:
    python = Source("x.py", "class A:\n    def f(self):\n        a = 1\n\n        return a\n\n\nx = 1\n")
    assert [(f.name, f.where, f.lines) for f in functions(python)] == [("f", "x.py:2", 4)]
    text = "cdef inline int f(int a,\n        int b) noexcept nogil:\n    return a\n\n\ncdef class B(A):\n"
    text += "    def g(self):\n        pass\n"
    compiled = Source("x.pyx", text)
    assert [(f.name, f.where, f.lines) for f in functions(compiled)] == [("f", "x.pyx:1", 3), ("g", "x.pyx:7", 2)]
