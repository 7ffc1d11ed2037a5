"""The commands by name. Those with UID have their own way of naming messages."""

from collections.abc import Mapping
from typing import Final

from services.sandbox.imap.commands import changing, fetch, idle, listing, login, search, selecting
from services.sandbox.imap.errors import BadError
from services.sandbox.imap.session import Handler, Session
from services.sandbox.imap.wire import Command, atom


async def by_uid(session: Session, command: Command) -> str:
    """UID FETCH, SEARCH, STORE, COPY, MOVE, EXPUNGE."""
    if not command.arguments:
        raise BadError("UID takes a command")
    inner = Command(command.tag, atom(command.arguments[0]).upper(), command.arguments[1:])
    match inner.name:
        case "FETCH":
            return await fetch.fetch(session, inner, by_uid=True)
        case "SEARCH":
            return await search.search(session, inner, by_uid=True)
        case "STORE":
            return await changing.store(session, inner, by_uid=True)
        case "COPY":
            return await changing.copy(session, inner, by_uid=True)
        case "MOVE":
            return await changing.move(session, inner, by_uid=True)
        case "EXPUNGE":
            return await selecting.expunge(session, inner)
        case _:
            raise BadError("unknown command after UID")


HANDLERS: Final[Mapping[str, Handler]] = {
    "CAPABILITY": login.capability,
    "ID": login.identify,
    "NOOP": login.noop,
    "CHECK": login.noop,
    "LOGOUT": login.logout,
    "ENABLE": login.enable,
    "LOGIN": login.login,
    "AUTHENTICATE": login.authenticate,
    "LIST": listing.list_folders,
    "LSUB": listing.list_folders,
    "STATUS": listing.status,
    "NAMESPACE": listing.namespace,
    "CREATE": listing.create,
    "DELETE": listing.delete,
    "RENAME": listing.rename,
    "SUBSCRIBE": listing.subscribe,
    "UNSUBSCRIBE": listing.subscribe,
    "SELECT": selecting.select,
    "EXAMINE": selecting.select,
    "CLOSE": selecting.close,
    "UNSELECT": selecting.close,
    "EXPUNGE": selecting.expunge,
    "FETCH": fetch.fetch,
    "SEARCH": search.search,
    "STORE": changing.store,
    "COPY": changing.copy,
    "MOVE": changing.move,
    "APPEND": changing.append,
    "IDLE": idle.idle,
    "UID": by_uid,
}
