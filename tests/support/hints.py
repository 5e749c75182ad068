"""Every hint in the code of ktframe, found in its syntax trees: where it is made, and its text.

A hint is what tells a user what to do: what is given as ``hint`` to an error, a readiness or a function, what a
function or constant called ``hint`` holds, and any text that names an argument (``value='avro'``) or a call of ktframe
and does not state a fact. What such an expression refers to (a name, a function of ktframe) is followed to its texts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

import ktframe

ROOT = Path(ktframe.__file__).parent
_CODE = re.compile(
    r"(?<![\w.\"'-])[a-z]\w*=(?![=>])"  # value='avro'
    r"|\b(?:ktframe\.[a-z]\w*|connect|errors|late|relearn|status)\("  # a call
    r"|did you mean|may be the right|: pass |(?:declare|cast) the (?:field|column)"
)
_WORDS = re.compile(r"[a-z]{2}.*\S \S|\S \S.*[a-z]{2}", re.DOTALL)
_HTML = ("widgets/markup.py", "widgets/picture.py", "sync/progress.py")
"""Texts with arguments, which are attributes of HTML."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Hint:
    """A hint: the module that gives it, relative to the package, and its text with ``{}`` for what is put in."""

    module: str
    text: str


@dataclass
class Module:
    """What can be referred to in a module."""

    name: str
    tree: ast.Module
    functions: dict[str, list[Function]] = field(default_factory=dict)
    constants: dict[str, list[ast.expr]] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)
    docstrings: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                self.functions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ktframe."):
                path = (node.module or "").removeprefix("ktframe.").replace(".", "/") + ".py"
                self.imported |= {alias.asname or alias.name: path for alias in node.names}
            elif isinstance(node, ast.Expr):
                self.docstrings.add(id(node.value))
        self.constants = _assigned(self.tree.body)


@cache
def hints() -> frozenset[Hint]:
    """Return every hint in the code of ktframe."""
    return hints_of({path.relative_to(ROOT).as_posix(): path.read_text() for path in ROOT.rglob("*.py")})


def hints_of(sources: Mapping[str, str]) -> frozenset[Hint]:
    """Return every hint in modules, by their paths."""
    modules = {name: Module(name, ast.parse(source)) for name, source in sources.items()}
    return frozenset(_Scan(modules).hints())


class _Scan:
    """Looks for the expressions that hold hints, or facts, and for the texts they come down to."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self.modules = modules
        self.signatures: dict[str, list[str]] = {}
        """What functions and classes take by position, where a hint is among it."""
        for module in modules.values():
            for name, parameters in _signatures(module.tree):
                if "hint" in parameters:
                    self.signatures[name] = parameters
        for _ in range(3):  # classes that inherit their parameters
            for module in modules.values():
                for node in ast.walk(module.tree):
                    if isinstance(node, ast.ClassDef) and node.name not in self.signatures:
                        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                        if bases and bases[0] in self.signatures:
                            self.signatures[node.name] = self.signatures[bases[0]]

    def hints(self) -> Iterator[Hint]:
        """Yield what this is for."""
        facts: set[tuple[str, str]] = set()
        found: set[tuple[str, str]] = set()
        for module in self.modules.values():
            for scope, node in _scoped(module.tree):
                for expression in self._given(module, node, scope):
                    found.update(self._texts(module, expression, scope))
                for expression in self._facts(module, node, scope):
                    facts.update(self._texts(module, expression, scope))
        for module in self.modules.values():
            if module.name not in _HTML:
                found |= {(module.name, text) for text in _mentions(module)} - facts
        yield from (Hint(module, text) for module, text in found if _WORDS.search(text) or _CODE.search(text))

    def _given(self, module: Module, node: ast.AST, scope: Function | None) -> Iterator[ast.expr]:
        """Yield the expressions in ``node`` that are given as, assigned to or returned as a hint."""
        if isinstance(node, ast.Call):
            yield from (each.value for each in node.keywords if (each.arg or "").endswith("hint"))
            yield from self._argument(module, node, "hint")
            if _called(node) == "did_you_mean":
                yield node
        elif isinstance(node, ast.Return) and scope and node.value and scope.name.endswith("hint"):
            yield node.value
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                for at, name in enumerate(names):
                    if isinstance(name, ast.Name) and name.id.lower().endswith(("hint", "hints")):
                        is_whole = len(names) == 1
                        yield from [node.value] if is_whole else self._element(module, node.value, at)

    def _facts(self, module: Module, node: ast.AST, scope: Function | None) -> Iterator[ast.expr]:
        """Yield what states facts: beside a hint, or as the fact of an error."""
        if isinstance(node, ast.Return) and scope and node.value and scope.name == "fact":
            yield node.value
        elif isinstance(node, ast.Call) and [*self._argument(module, node, "hint")]:
            for role in ("message", "fact"):
                yield from self._argument(module, node, role)

    def _argument(self, module: Module, call: ast.Call, role: str) -> Iterable[ast.expr]:
        """Return what ``call`` gives by position to the parameter ``role``, if anything."""
        parameters = self.signatures.get(_called(call), [])
        if role not in parameters:
            return []
        position = parameters.index(role)
        for at, argument in enumerate(call.args[: position + 1]):
            if isinstance(argument, ast.Starred):
                return self._element(module, argument.value, position - at)
        return call.args[position : position + 1]

    def _element(self, module: Module, expression: ast.expr, at: int) -> Iterator[ast.expr]:
        """Yield what may be element ``at`` of the tuple that ``expression`` gives."""
        if isinstance(expression, ast.Tuple):
            yield from expression.elts[at : at + 1]
        elif isinstance(expression, ast.BoolOp):
            for value in expression.values:
                yield from self._element(module, value, at)
        elif isinstance(expression, ast.IfExp):
            yield from self._element(module, expression.body, at)
            yield from self._element(module, expression.orelse, at)
        elif isinstance(expression, ast.Call):
            for _, function in self._functions(module, _called(expression)):
                for returned in _returned(function):
                    yield from self._element(module, returned, at)

    def _texts(
        self,
        module: Module,
        expression: ast.expr,
        scope: Function | None,
        seen: frozenset[int] = frozenset(),
    ) -> Iterator[tuple[str, str]]:
        """Yield the texts that ``expression`` may come down to, each with the module that gives it."""
        if id(expression) in seen:
            return
        seen |= {id(expression)}
        text = _text(expression)
        if text is not None:
            yield module.name, text
        for node in (expression, *_outer(expression)):
            if text is None and node is not expression and _text(node) is not None:
                yield from self._texts(module, node, scope, seen)  # type: ignore[arg-type]
            for home, referred, inner in self._referred(module, node, scope):
                for where, found in self._texts(home, referred, inner, seen):
                    # What ``errors`` words for others is a hint of those.
                    yield module.name if where == "errors.py" else where, found

    def _referred(
        self, module: Module, node: ast.AST, scope: Function | None
    ) -> Iterator[tuple[Module, ast.expr, Function | None]]:
        """Yield the expressions that a name stands for: what it was assigned, what a function of the name returns."""
        if isinstance(node, ast.Name):
            local = _assigned(scope.body) if scope else {}
            for assigned in local.get(node.id, module.constants.get(node.id, [])):
                yield module, assigned, scope
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            name = node.attr
        else:
            return
        for home, function in self._functions(module, name):
            for returned in _returned(function):
                yield home, returned, function

    def _functions(self, module: Module, name: str) -> Iterator[tuple[Module, Function]]:
        home = self.modules.get(module.imported.get(name, module.name), module)
        for function in home.functions.get(name, []):
            yield home, function


def _mentions(module: Module) -> Iterator[str]:
    """Yield the texts of ``module`` that name an argument or a call."""
    for node in _outer(module.tree):
        text = _text(node)
        if text and id(node) not in module.docstrings and _CODE.search(text):
            yield text


def _outer(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below ``node``, without what is put into texts."""
    for child in ast.iter_child_nodes(node) if not isinstance(node, ast.JoinedStr) else ():
        yield child
        yield from _outer(child)


def _text(node: ast.AST) -> str | None:
    """Return the text of a literal, None for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _scoped(tree: ast.AST, scope: Function | None = None) -> Iterator[tuple[Function | None, ast.AST]]:
    """Yield every node with the function it is in."""
    for child in ast.iter_child_nodes(tree):
        yield scope, child
        yield from _scoped(child, child if isinstance(child, Function) else scope)


def _assigned(body: Iterable[ast.stmt]) -> dict[str, list[ast.expr]]:
    """Return what the names of a body are assigned, however deep in its blocks."""
    found: dict[str, list[ast.expr]] = {}
    for statement in body:
        if isinstance(statement, ast.ClassDef | Function):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, []).append(node.value)
    return found


def _returned(function: Function) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            yield node.value


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _signatures(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Yield the functions and classes of a module with the names of what they take by position."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node.name, [each.arg for each in node.args.args if each.arg not in ("self", "cls")]
        elif isinstance(node, ast.ClassDef):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            makers = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
            if makers:
                yield node.name, [each.arg for each in makers[0].args.args[1:]]
            elif fields:
                yield node.name, [each.target.id for each in fields if isinstance(each.target, ast.Name)]
