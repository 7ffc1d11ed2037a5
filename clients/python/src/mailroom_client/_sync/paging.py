"""Lists that come in pages."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import cast

from pydantic import ConfigDict

from mailroom_client._request import Request
from mailroom_client._sync.transport import Transport
from mailroom_client.models import Model


class _Page(Model):
    model_config = ConfigDict(frozen=True, extra="allow")

    next_cursor: str | None = None

    def items(self, field: str) -> list[object]:
        """Return the objects in a field."""
        found: object = (self.model_extra or {}).get(field)
        return cast("list[object]", found) if isinstance(found, list) else []


class Paged[T: Model]:
    """A list: `for` asks for the next page when the last one is used up."""

    def __init__(self, transport: Transport, request: Request, *, field: str, item: type[T]) -> None:
        self._transport = transport
        self._request = request
        self._field = field
        self._item = item

    def __iter__(self) -> Generator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Generator[list[T]]:
        """Return the pages, of `page_size` items but the last."""
        request = self._request
        while True:
            page = self._transport.call(request, _Page)
            yield [self._item.model_validate(item) for item in page.items(self._field)]
            if page.next_cursor is None:
                return
            request = replace(request, params=_with(request.params, cursor=page.next_cursor))

    def first(self, count: int) -> list[T]:
        """Return the first items."""
        found: list[T] = []
        with closing(self.pages()) as pages:
            for page in pages:
                found.extend(page)
                if len(found) >= count:
                    break
        return found[:count]


def _with[V](values: Mapping[str, V], **more: V) -> dict[str, V]:
    return {**values, **more}
