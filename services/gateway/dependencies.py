"""Dependencies of routes: the services behind the gateway, and the user of the request."""

from typing import Annotated

from fastapi import Depends, Request

from services.gateway.bearer import Credentials, caller_of
from services.gateway.clients import Services
from services.gateway.html.sanitiser import SafeHtml
from services.gateway.limits.long_polls import LongPolls
from services.gateway.limits.rate_limits import RateLimit
from services.gateway.limits.shares import Shares
from services.gateway.limits.standings import standings_of
from services.kit.jwks import KeySet

# All of them are coroutines: FastAPI would run a plain function in a thread, for 0.15 ms of CPU a request.


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _signing_keys(request: Request) -> KeySet:
    keys: KeySet = request.app.state.signing_keys
    return keys


async def _long_polls(request: Request) -> LongPolls:
    long_polls: LongPolls = request.app.state.long_polls
    return long_polls


async def _safe_html(request: Request) -> SafeHtml:
    safe_html: SafeHtml = request.app.state.safe_html
    return safe_html


async def _shares(request: Request) -> Shares:
    shares: Shares = request.app.state.shares
    return shares


async def _user_id(request: Request, credentials: Credentials) -> str:
    user_id = (await caller_of(request, credentials)).user_id
    limit: RateLimit | None = request.app.state.user_limit
    if limit is not None:
        await limit.take(user_id, standings=standings_of(request.scope))
    return user_id


Backends = Annotated[Services, Depends(_services)]
HtmlSanitiser = Annotated[SafeHtml, Depends(_safe_html)]
Polls = Annotated[LongPolls, Depends(_long_polls)]
UserShares = Annotated[Shares, Depends(_shares)]
Keys = Annotated[KeySet, Depends(_signing_keys)]
UserId = Annotated[str, Depends(_user_id)]
