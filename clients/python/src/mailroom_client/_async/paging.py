"""Lists that come in pages."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from pydantic import ConfigDict

from mailroom_client._async.transport import AsyncTransport
from mailroom_client._request import Request
from mailroom_client.models import Model


class _Page(Model):
    model_config = ConfigDict(frozen=True, extra="allow")

    next_cursor: str | None = None

    def items(self, field: str) -> list[object]:
        """Return the objects in a field."""
        found: object = (self.model_extra or {}).get(field)
        return cast("list[object]", found) if isinstance(found, list) else []


class AsyncPaged[T: Model]:
    """A list: `async for` asks for the next page when the last one is used up."""

    def __init__(self, transport: AsyncTransport, request: Request, *, field: str, item: type[T]) -> None:
        self._transport = transport
        self._request = request
        self._field = field
        self._item = item

    async def __aiter__(self) -> AsyncGenerator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncGenerator[list[T]]:
        """Return the pages, of `page_size` items but the last."""
        request = self._request
        while True:
            page = await self._transport.call(request, _Page)
            yield [self._item.model_validate(item) for item in page.items(self._field)]
            if page.next_cursor is None:
                return
            request = replace(request, params=_with(request.params, cursor=page.next_cursor))

    async def first(self, count: int) -> list[T]:
        """Return the first items."""
        found: list[T] = []
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                found.extend(page)
                if len(found) >= count:
                    break
        return found[:count]


def _with[V](values: Mapping[str, V], **more: V) -> dict[str, V]:
    return {**values, **more}
