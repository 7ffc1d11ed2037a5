"""The SQL statements of a store, collected from its source: every call that sends one, also where no test goes."""

import ast
import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

# The methods of asyncpg's connections and pools that take a statement first.
_SENDING = frozenset({"execute", "executemany", "fetch", "fetchrow", "fetchval", "fetchmany", "cursor", "prepare"})
# Those that write rows without one.
_COPYING = frozenset({"copy_from_query", "copy_from_table", "copy_records_to_table", "copy_to_table"})
_VERY_MANY = 10**6

type Function = ast.FunctionDef | ast.AsyncFunctionDef
type Send = Callable[["Recorder"], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement and the function that sends it, as `store/labels.py: names`."""

    place: str
    sql: str


class Recorder:
    """A connection without a database: keeps the statements sent through it.

    It answers that there are no rows, and that those that are counted are very many.
    """

    def __init__(self) -> None:
        """Begin without statements."""
        self.sent: list[str] = []

    async def fetch(self, statement: str, *_arguments: object) -> Sequence[Any]:
        """Keep the statement."""
        self.sent.append(statement)
        return ()

    async def fetchval(self, statement: str, *_arguments: object) -> int:
        """Keep the statement."""
        self.sent.append(statement)
        return _VERY_MANY

    async def execute(self, statement: str) -> None:
        """Keep the statement."""
        self.sent.append(statement)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Open a transaction, of which no statement tells."""
        yield


def statements_of(root: Path, folder: str, *, recorded: Mapping[str, Sequence[Send]] = {}) -> Iterator[Statement]:
    """Yield the statements of all modules below `folder`, a dotted package in `root`.

    A statement is a literal, a constant of its module, or an f-string of constants; where it names a variable of a loop
    over constants or a parameter, it is yielded with each value. A function that composes statements in another way has
    to be called by `recorded`, by its place. Raises ValueError for statements that cannot be known so, and for calls in
    `recorded` that are not needed.
    """
    unread = set(recorded)
    for path in sorted((root / folder.replace(".", "/")).rglob("*.py")):
        module = importlib.import_module(
            ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        )
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in _top_functions(tree):
            place = f"{path.relative_to(root / folder.replace('.', '/'))}: {function.name}"
            if place in recorded:
                unread.discard(place)
                yield from (Statement(place, sql) for sql in _record(recorded[place]))
            else:
                yield from (Statement(place, sql) for sql in _read(function, tree, module, place))
    if unread:
        raise ValueError(f"Nothing has to be recorded of {sorted(unread)}")


def texts_with_statements(folder: Path, tables: Collection[str], *, besides: Collection[str]) -> list[str]:
    """List the modules below `folder`, without its folders `besides`, that have a text with a statement on a table."""
    named = re.compile(rf"\b(?:FROM|INTO|UPDATE|JOIN)\s+(?:{'|'.join(sorted(tables))})\b")
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*.py")))
    return [str(path) for path in paths if path.parts[0] not in besides and named.search((folder / path).read_text())]


def _record(calls: Sequence[Send]) -> Iterator[str]:
    for call in calls:
        recorder = Recorder()
        asyncio.run(_await(call(recorder)))
        if not recorder.sent:
            raise ValueError("A recorded call sent nothing")
        yield from recorder.sent


async def _await(sending: Awaitable[object]) -> None:
    await sending


def _top_functions(tree: ast.Module) -> Iterator[Function]:
    """Yield functions and methods, those within other functions not by themselves."""
    for node in tree.body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (each for each in inner if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


def _read(function: Function, tree: ast.Module, module: ModuleType, place: str) -> Iterator[str]:
    for call in _calls_within(function):
        if not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr in _COPYING:
            raise ValueError(f"{place} copies rows: no statement shows whose")
        if call.func.attr in _SENDING:
            yield from _texts(call.args[0], function, tree, module, place)


def _texts(node: ast.expr, function: Function, tree: ast.Module, module: ModuleType, place: str) -> Iterator[str]:
    """Yield the texts that an expression has, with each combination of what its variables can be."""
    names = sorted({each.id for each in ast.walk(node) if isinstance(each, ast.Name)} - set(vars(module)))
    values = [_values_of(name, function, tree, module) for name in names]
    for name, known in zip(names, values, strict=True):
        if not known:
            raise ValueError(f"{place} sends a statement with {name}, which is not constant: record it")
    for combination in product(*values):
        text = _evaluate(node, module, dict(zip(names, combination, strict=True)))
        if not isinstance(text, str):
            raise TypeError(f"{place} sends a statement that is no text")
        yield text


def _values_of(name: str, function: Function, tree: ast.Module, module: ModuleType) -> list[object]:
    """List what a variable of a loop can be, or a parameter: what the module's calls of the function pass first."""
    for loop in ast.walk(function):
        if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name) and loop.target.id == name:
            return list(_evaluate(loop.iter, module, {}))
    parameters = [each.arg for each in function.args.args]
    if name not in parameters:
        return []
    calls = [each for each in _calls_within(tree) if isinstance(each.func, ast.Name) and each.func.id == function.name]
    passed = [call.args[parameters.index(name)] for call in calls]
    return [_evaluate(argument, module, {}) for argument in passed if isinstance(argument, ast.Constant)]


def _calls_within(node: ast.AST) -> Iterator[ast.Call]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Call))


def _evaluate(node: ast.expr, module: ModuleType, names: Mapping[str, object]) -> Any:
    code = compile(ast.Expression(node), str(module.__file__), "eval")
    return eval(code, {**vars(module), **names})  # noqa: S307 - our own source, which the import ran already
