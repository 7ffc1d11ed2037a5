"""What processes of the console tell each other."""

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response

from services.console.pages.visit import console_of
from services.console.sessions.peers import PATH

router = APIRouter()

# Bytes: of some ten thousand ended sessions.
_LARGEST = 1024 * 1024


@router.post(PATH)
async def exchange(request: Request) -> Response:
    """Take sessions that ended at a peer, and answer with those that ended here. Strangers have no secret for it."""
    peers = console_of(request).peers
    if peers is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    answer = peers.answer(bytes(body))
    if answer is None:
        raise HTTPException(HTTPStatus.FORBIDDEN)
    return Response(answer, media_type="application/octet-stream")
