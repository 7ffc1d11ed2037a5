"""Control API over the IMAP servers, below `/_sandbox/`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox.control.json_body import ControlBody, ControlError, read_body
from services.sandbox.control.path_user import user_of_path
from services.sandbox.imap.server import ImapServer
from services.sandbox.mailboxes.user import User, UserDirectory


class LimitsBody(ControlBody):
    """Limits per account; null: none. Absent fields keep their values."""

    connections: int | None = Field(default=None, ge=1)
    logins_per_minute: int | None = Field(default=None, ge=1)
    refusals_before_lock: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True)
class Listeners:
    """Where the servers listen: ports by profile, and the authority (PEM) that clients have to trust."""

    host: str
    ports: Mapping[str, int]
    authority: str


class ImapControl:
    """Handlers for addresses, limits and statistics of the servers, and for folders of a user."""

    def __init__(self, *, server: ImapServer, users: UserDirectory, listeners: Listeners) -> None:
        self._server = server
        self._users = users
        self._listeners = listeners

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        user = "/_sandbox/users/{email}"
        return [
            Route("/_sandbox/imap", self.get_servers),
            Route("/_sandbox/imap", self.patch_limits, methods=["PATCH"]),
            Route(f"{user}/folders", self.list_folders),
            Route(f"{user}/folders/{{id}}/reset", self.reset_folder, methods=["POST"]),
            Route(f"{user}/connections", self.drop_connections, methods=["DELETE"]),
        ]

    async def get_servers(self, _: Request) -> Response:
        """Return host and ports by profile, the authority to trust, the limits, and what each account did."""
        users = {user.sub: user.email for user in self._users.all()}
        accounts = {users[sub]: facts for sub, facts in self._server.report().items() if sub in users}
        return JSONResponse(
            {
                "host": self._listeners.host,
                "ports": dict(self._listeners.ports),
                "authority": self._listeners.authority,
                "limits": asdict(self._server.limits),
                "accounts": accounts,
            }
        )

    async def patch_limits(self, request: Request) -> Response:
        """Change the limits; only fields of the body change."""
        for name, value in (await read_body(request, LimitsBody)).model_dump(exclude_unset=True).items():
            setattr(self._server.limits, name, value)
        return JSONResponse(asdict(self._server.limits))

    async def list_folders(self, request: Request) -> Response:
        """Return the true folders: UIDVALIDITY, the next UID, and message ids by UID."""
        folders = self._server.folders_of(self._user(request)).all()
        return JSONResponse(
            {
                "folders": [
                    {
                        "id": folder.id,
                        "uidvalidity": folder.uidvalidity,
                        "uidnext": folder.uidnext,
                        "messages": {str(uid): folder.messages[uid].id for uid in folder.uids},
                    }
                    for folder in folders
                ]
            }
        )

    async def reset_folder(self, request: Request) -> Response:
        """Change the folder's UIDVALIDITY and all its UIDs. Returns the new UIDVALIDITY."""
        folders = self._server.folders_of(self._user(request))
        folder = folders.find(request.path_params["id"])
        if folder is None:
            raise ControlError(404, f"no folder {request.path_params['id']}")
        folders.reset(folder)
        return JSONResponse({"uidvalidity": folder.uidvalidity})

    async def drop_connections(self, request: Request) -> Response:
        """End all connections of the user without a word. Returns their number."""
        return JSONResponse({"dropped": self._server.drop_connections(self._user(request))})

    def _user(self, request: Request) -> User:
        return user_of_path(request, self._users)
