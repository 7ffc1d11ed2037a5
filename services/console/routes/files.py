"""Styles and scripts, all of them part of the console."""

from functools import cache
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response

router = APIRouter()

_FOLDER = Path(__file__).parents[1] / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Seconds for which browsers keep a file.
_AGE = 3600


@cache
def _files() -> dict[str, Path]:
    found = (path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(_FOLDER).as_posix(): path for path in found}


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


@router.get("/static/{name:path}")
async def get_file(name: str) -> Response:
    """Get a file that pages load."""
    path = _files().get(name)
    if path is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    headers = {"cache-control": f"public, max-age={_AGE}"}
    return Response(_content(path), media_type=_TYPES[path.suffix], headers=headers)
