"""The repository's Markdown pages, and what they name: paths, names in code, modules, links, make targets."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from tests.support.architecture.repository import tracked_files

ROOT = Path(__file__).parents[3]
_FOLDERS = r"services|tests|docs|deploy|protos|benchmarks|\.github|\.ci|\.devcontainer"
# `{name}` and `<name>` stand for any name. A path that a variable continues is not whole; `.*` is a regular expression.
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/[\w./*{{}}<>-]*+(?!\$)")
_GENERATED = ("protos/gen/", "deploy/locks/", "requirements.lock")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|<[^<>]*>")
_NAME = re.compile(r"(?<![\w./-])((?:services|tests|deploy|benchmarks)/[\w/]+\.py)((?:::\w+)+)")
_MODULE = re.compile(r"(?<![\w./-])(?:services|deploy|tests|benchmarks)(?:\.[a-z_]\w*)+")
_LINK = re.compile(r"\]\(([^()]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(rf"{_FENCE.pattern}|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_MAKE = re.compile(r"(?:^ *|`|&& )make ([a-z_-]+)", re.MULTILINE)


@cache
def documents() -> list[Path]:
    """Every Markdown file, in the order of their paths."""
    return [ROOT / path for path in tracked_files(ROOT) if path.endswith(".md")]


def texts(*, left_out: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Path and text of every text file that is not generated, but for those below `left_out`."""
    for path in tracked_files(ROOT):
        if not path.startswith((*_GENERATED, *left_out)):
            try:
                yield path, (ROOT / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def missing_paths(text: str) -> list[str]:
    """Paths of the repository that a text names and that do not exist. What `.gitignore` names is made on demand."""
    made = tuple(line for line in (ROOT / ".gitignore").read_text().splitlines() if "/" in line.rstrip("/"))
    named = {match[0].rstrip(".") for match in _PATH.finditer(text) if ".*" not in match[0]}
    return sorted(path for path in named if not f"{path}/".startswith(made) and not _matches(path))


def _matches(path: str) -> bool:
    pattern = _PLACEHOLDER.sub("*", path).rstrip("/")
    return any(ROOT.glob(pattern)) if "*" in pattern else (ROOT / pattern).exists()


def missing_names(text: str) -> list[str]:
    """Names in code, `path.py::name::name`, that a text gives and that do not exist."""
    return sorted({f"{path}{names}" for path, names in _NAME.findall(text) if not _is_defined(path, names)})


def _is_defined(path: str, names: str) -> bool:
    if not (ROOT / path).is_file():
        return False
    body = _parsed(path).body
    for name in names.split("::")[1:]:
        node = next((node for node in body if name in _names_of(node)), None)
        if node is None:
            return False
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


@cache
def _parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _names_of(node: ast.stmt) -> Iterator[str]:
    """What a statement defines: a class, a function, constants or fields."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.TypeAlias(name=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (child.id for target in targets for child in ast.walk(target) if isinstance(child, ast.Name))


def missing_modules(text: str) -> list[str]:
    """Dotted modules, such as those of `python -m`, that a text names and that do not exist."""
    named = {match[0] for match in _MODULE.finditer(text)}
    return sorted(module for module in named if not _is_module(ROOT.joinpath(*module.split("."))))


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def missing_targets(text: str) -> list[str]:
    """Make targets that a text tells the reader to run and that the Makefile lacks."""
    known = set(re.findall(r"^([a-z_-]+)(?: [a-z_-]+)*:", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join(_CODE.findall(text))
    return sorted(set(_MAKE.findall(code)) - known)


def broken_links(document: Path, text: str) -> list[str]:
    """Relative links of a document whose file, or whose section in it, does not exist."""
    links = {
        link for link in _LINK.findall(_FENCE.sub("", text)) if "://" not in link and not link.startswith("mailto:")
    }
    return sorted(link for link in links if not _leads_somewhere(document, text, link))


def _leads_somewhere(document: Path, text: str, link: str) -> bool:
    path, _, section = unquote(link).partition("#")
    if not path:
        return section in sections(text)
    target = document.parent / path
    return target.exists() and (not section or section in sections(target.read_text(encoding="utf-8")))


def sections(text: str) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return [_anchor(heading) for heading in _HEADING.findall(_FENCE.sub("", text))]


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
