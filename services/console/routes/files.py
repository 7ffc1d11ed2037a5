"""Styles and scripts, all of them part of the console."""

from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response

router = APIRouter()

_FOLDER = Path(__file__).parents[1] / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def _files() -> dict[str, Path]:
    found = (path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(_FOLDER).as_posix(): path for path in found}


@cache
def _content(path: Path) -> tuple[bytes, str]:
    """Return the bytes of a file with their entity tag."""
    content = path.read_bytes()
    return content, f'"{sha256(content).hexdigest()[:16]}"'


@router.get("/static/{name:path}")
async def get_file(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """Get a file that pages load. Browsers keep it, and ask each time whether a release has changed it."""
    path = _files().get(name)
    if path is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    content, tag = _content(path)
    headers = {"cache-control": "public, no-cache", "etag": tag}
    if if_none_match == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type=_TYPES[path.suffix], headers=headers)
