"""Which functions of a store a process can call: those that the modules which it imports name, and what these call."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path


def places_called_by(application: str, *, root: Path, store: str) -> set[str]:
    """Return the functions of the package `store` that a process can call, as `labels.py: names`.

    `application` is the dotted module that composes the process; all that it imports counts.
    """
    modules = {name: _parse(root, name) for name in _imported_by(application)}
    inside = {name: tree for name, tree in modules.items() if name.startswith(f"{store}.")}
    calls = {
        (module, function.name): set(_named_in(function, _names_of(tree, inside)))
        for module, tree in inside.items()
        for function in tree.body
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    waiting = {
        called
        for module, tree in modules.items()
        if module not in inside
        for called in _named_in(tree, _names_of(tree, inside))
    }
    reached: set[tuple[str, str]] = set()
    while waiting:
        place = waiting.pop()
        if place in calls and place not in reached:
            reached.add(place)
            waiting |= calls[place]
    return {f"{module.removeprefix(f'{store}.').replace('.', '/')}.py: {function}" for module, function in reached}


def _imported_by(application: str) -> list[str]:
    """Return the services' modules that a fresh interpreter has after an import."""
    program = f"import sys, {application}; print(*(name for name in sys.modules if name.startswith('services.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def _parse(root: Path, module: str) -> ast.Module:
    path = root / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _names_of(tree: ast.Module, inside: Mapping[str, ast.Module]) -> dict[str, tuple[str, str | None]]:
    """Return what names of a module stand for: a module of the store, or a function in one."""
    names: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in inside:
                    names[alias.asname or alias.name] = (f"{node.module}.{alias.name}", None)
                elif node.module in inside:
                    names[alias.asname or alias.name] = (node.module, alias.name)
    own = next((name for name, other in inside.items() if other is tree), None)
    if own is not None:
        functions = (each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
        names |= {function.name: (own, function.name) for function in functions}
    return names


def _named_in(node: ast.AST, names: Mapping[str, tuple[str, str | None]]) -> Iterator[tuple[str, str]]:
    """Yield the functions of the store that a piece of code names."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            module, function = names.get(each.value.id, ("", None))
            if module and function is None:
                yield module, each.attr
        elif isinstance(each, ast.Name) and (found := names.get(each.id)) is not None and found[1] is not None:
            yield found[0], found[1]
