"""A fake of auth's API keys and applications with state, in this process, behind real gRPC."""

import secrets
import uuid
from dataclasses import dataclass, field
from typing import override

from mailroom.auth.v1 import auth_pb2
from mailroom.auth.v1.auth_pb2_grpc import ApiKeyServiceServicer, ApplicationServiceServicer

from services.kit.api_key import generate
from services.kit.errors import AppError, Kind
from services.kit.scopes import Scope
from tests.support.gateway.contract import Context, after

APPLICATION_ID = "5f0c1c5e-7f0a-4f8e-9d54-0f2b3f1f7d10"


@dataclass
class FakeKeys(ApiKeyServiceServicer, ApplicationServiceServicer):
    """Keys and users of one application; methods raise `failure` while it is set."""

    keys: dict[str, auth_pb2.ApiKey] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    ended_sessions: set[str] = field(default_factory=set)
    users: dict[str, auth_pb2.User] = field(default_factory=dict)
    applications: list[auth_pb2.Application] = field(default_factory=list)
    lookups: list[auth_pb2.VerifyApiKeyRequest] = field(default_factory=list)
    audits: list[auth_pb2.ListAuditEventsRequest] = field(default_factory=list)
    exchanges: list[auth_pb2.ExchangeTokenRequest] = field(default_factory=list)
    failure: AppError | None = None

    def add(self, *scopes: Scope) -> str:
        """Create a key with these scopes; return its text."""
        text = generate(secrets.token_bytes)
        self.keys[text.value] = auth_pb2.ApiKey(
            key_id=text.key_id, application_id=APPLICATION_ID, scopes=list(scopes), create_time=after(0)
        )
        return text.value

    def subject(self, text: str) -> str:
        """Return the `user_id` of a key's requests."""
        return f"key:{self.keys[text].key_id}"

    @override
    async def VerifyApiKey(self, request: auth_pb2.VerifyApiKeyRequest, _: Context) -> auth_pb2.VerifyApiKeyResponse:
        self.lookups.append(request)
        self._check()
        key = self.keys.get(request.api_key)
        if key is None or key.key_id in self.revoked:
            raise AppError(Kind.UNAUTHENTICATED, "invalid_api_key", "The API key is not known.")
        return auth_pb2.VerifyApiKeyResponse(key=key, principal=f"principal of {key.key_id}", expire_time=after(900))

    @override
    async def CreateApiKey(self, request: auth_pb2.CreateApiKeyRequest, _: Context) -> auth_pb2.CreateApiKeyResponse:
        self._check()
        text = self.add(*map(Scope, request.scopes))
        self.keys[text].name = request.name
        self.keys[text].created_by = request.manager_key_id
        return auth_pb2.CreateApiKeyResponse(key=self.keys[text], api_key=text)

    @override
    async def ListApiKeys(self, request: auth_pb2.ListApiKeysRequest, _: Context) -> auth_pb2.ListApiKeysResponse:
        self._check()
        return auth_pb2.ListApiKeysResponse(keys=self.keys.values())

    @override
    async def ListApiKeyEvents(
        self, request: auth_pb2.ListApiKeyEventsRequest, _: Context
    ) -> auth_pb2.ListApiKeyEventsResponse:
        self._check()
        event = auth_pb2.ApiKeyEvent(type="created", create_time=after(0))
        return auth_pb2.ListApiKeyEventsResponse(events=[event])

    @override
    async def ListAuditEvents(
        self, request: auth_pb2.ListAuditEventsRequest, _: Context
    ) -> auth_pb2.ListAuditEventsResponse:
        self._check()
        self.audits.append(request)
        of_key = auth_pb2.AuditEvent(
            event=auth_pb2.SecurityEvent(event_id="e2", type="key_created", create_time=after(0)), key_id="k1"
        )
        of_user = auth_pb2.AuditEvent(
            event=auth_pb2.SecurityEvent(
                event_id="e1",
                type="account_connected",
                create_time=after(0),
                account_id="a1",
                email="ada@example.com",
                client=auth_pb2.ClientInfo(address="192.0.2.0/24", user_agent="Firefox on Linux"),
            ),
            user_id="u1",
        )
        return auth_pb2.ListAuditEventsResponse(events=[of_key, of_user], next_page_token="next")

    @override
    async def RevokeApiKey(self, request: auth_pb2.RevokeApiKeyRequest, _: Context) -> auth_pb2.RevokeApiKeyResponse:
        self._check()
        self.revoked.add(request.key_id)
        return auth_pb2.RevokeApiKeyResponse()

    @override
    async def ExchangeToken(self, request: auth_pb2.ExchangeTokenRequest, _: Context) -> auth_pb2.ExchangeTokenResponse:
        self._check()
        self.exchanges.append(request)
        return auth_pb2.ExchangeTokenResponse(
            access_token=f"token of {request.user_id}", expire_time=after(900), scopes=request.scopes
        )

    @override
    async def ListRevocations(
        self, request: auth_pb2.ListRevocationsRequest, _: Context
    ) -> auth_pb2.ListRevocationsResponse:
        self._check()
        return auth_pb2.ListRevocationsResponse(
            key_ids=self.revoked, session_ids=self.ended_sessions, as_of_time=after(0)
        )

    @override
    async def CreateApplication(
        self, request: auth_pb2.CreateApplicationRequest, _: Context
    ) -> auth_pb2.CreateApplicationResponse:
        self._check()
        self.applications.append(
            auth_pb2.Application(application_id=str(uuid.uuid4()), name=request.name, create_time=after(0))
        )
        return auth_pb2.CreateApplicationResponse(application=self.applications[-1])

    @override
    async def ListApplications(
        self, request: auth_pb2.ListApplicationsRequest, _: Context
    ) -> auth_pb2.ListApplicationsResponse:
        self._check()
        return auth_pb2.ListApplicationsResponse(applications=self.applications)

    @override
    async def UpdateApplication(
        self, request: auth_pb2.UpdateApplicationRequest, _: Context
    ) -> auth_pb2.UpdateApplicationResponse:
        self._check()
        for application in self.applications:
            if application.application_id == request.application_id:
                application.redirect_urls[:] = request.redirect_urls
                return auth_pb2.UpdateApplicationResponse(application=application)
        raise AppError(Kind.NOT_FOUND, "application_not_found", "There is no such application.")

    @override
    async def DeleteApplication(
        self, request: auth_pb2.DeleteApplicationRequest, _: Context
    ) -> auth_pb2.DeleteApplicationResponse:
        self._check()
        for application in self.applications:
            if application.application_id == request.application_id:
                self.applications.remove(application)
                return auth_pb2.DeleteApplicationResponse()
        raise AppError(Kind.NOT_FOUND, "application_not_found", "There is no such application.")

    @override
    async def AddUser(self, request: auth_pb2.AddUserRequest, _: Context) -> auth_pb2.AddUserResponse:
        self._check()
        is_new = request.external_user_id not in self.users
        if is_new:
            self.users[request.external_user_id] = auth_pb2.User(
                user_id=str(uuid.uuid4()), external_user_id=request.external_user_id, create_time=after(0)
            )
        return auth_pb2.AddUserResponse(user=self.users[request.external_user_id], is_new=is_new)

    @override
    async def ListUsers(self, request: auth_pb2.ListUsersRequest, _: Context) -> auth_pb2.ListUsersResponse:
        self._check()
        wanted = request.external_user_id
        return auth_pb2.ListUsersResponse(users=[user for name, user in self.users.items() if wanted in ("", name)])

    @override
    async def GetApplicationUser(
        self, request: auth_pb2.GetApplicationUserRequest, _: Context
    ) -> auth_pb2.GetApplicationUserResponse:
        self._check()
        for user in self.users.values():
            if user.user_id == request.user_id:
                return auth_pb2.GetApplicationUserResponse(user=user)
        raise AppError(Kind.NOT_FOUND, "user_not_found", "There is no such user.")

    def _check(self) -> None:
        if self.failure:
            raise self.failure
