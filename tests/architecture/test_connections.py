"""The rule that no task waits for a second connection while it holds one: many at once would wait for each other."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

_NESTED = """
class Reader:
    async def outer(self):
        async with self._pool.acquire() as connection:
            return await self._middle()

    async def _middle(self):
        return await self._inner()

    async def _inner(self):
        async with self._pool.acquire() as connection, connection.transaction():
            return await query(connection)
"""


def _is_acquisition(node: ast.AST) -> bool:
    """Return whether a statement takes a connection from a pool."""
    return isinstance(node, ast.AsyncWith) and any(
        isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func).endswith("pool.acquire")
        for item in node.items
    )


def _own_calls(node: ast.AST) -> set[str]:
    """Return the names of the methods of its object that a piece of code calls."""
    calls = (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
    return {
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "self"
    }


def _acquiring(methods: dict[str, ast.AsyncFunctionDef]) -> set[str]:
    """Return the methods that take a connection, themselves or through others of their class."""
    found = {name for name, method in methods.items() if any(map(_is_acquisition, ast.walk(method)))}
    while more := {name for name, method in methods.items() if name not in found and _own_calls(method) & found}:
        found |= more
    return found


def second_connections(source: str) -> list[str]:
    """List the methods that take a connection while they hold one."""
    found = []
    for owner in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)):
        methods = {node.name: node for node in owner.body if isinstance(node, ast.AsyncFunctionDef)}
        acquiring = _acquiring(methods)
        for name, method in methods.items():
            held = [node for node in ast.walk(method) if isinstance(node, ast.AsyncWith) and _is_acquisition(node)]
            inner = [each for block in held for statement in block.body for each in ast.walk(statement)]
            if any(_is_acquisition(each) or _own_calls(each) & acquiring for each in inner):
                found.append(f"{owner.name}.{name}")
    return found


class TestConnections:
    def test_are_not_waited_for_while_one_is_held(self) -> None:
        sources = sorted((ROOT / "services").rglob("*.py"))
        found = {str(path): methods for path in sources if (methods := second_connections(path.read_text("utf-8")))}
        assert sources
        assert found == {}

    def test_would_be_found(self) -> None:
        assert second_connections(_NESTED) == ["Reader.outer"]
