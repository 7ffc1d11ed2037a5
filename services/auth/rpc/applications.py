"""mailroom.auth.v1.ApplicationService."""

from typing import override
from uuid import UUID

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.applications.applications import Applications
from services.auth.applications.deletions import ApplicationDeletions
from services.auth.errors import application_not_found, invalid_page_token, user_not_found
from services.auth.rpc.from_proto import client_of, uuid_or_none
from services.auth.rpc.to_proto import account_to_proto, application_to_proto, user_to_proto
from services.kit.rpc.server import Context


class ApplicationServicer(auth_pb2_grpc.ApplicationServiceServicer):
    """mailroom.auth.v1.ApplicationService."""

    def __init__(self, applications: Applications, deletions: ApplicationDeletions) -> None:
        self._applications = applications
        self._deletions = deletions

    @override
    async def CreateApplication(
        self, request: auth_pb2.CreateApplicationRequest, context: Context
    ) -> auth_pb2.CreateApplicationResponse:
        made = await self._applications.create(request.name, request.redirect_urls, operator_id=request.operator_key_id)
        return auth_pb2.CreateApplicationResponse(application=application_to_proto(made))

    @override
    async def ListApplications(
        self, request: auth_pb2.ListApplicationsRequest, context: Context
    ) -> auth_pb2.ListApplicationsResponse:
        found = await self._applications.list_all(operator_id=request.operator_key_id)
        return auth_pb2.ListApplicationsResponse(applications=map(application_to_proto, found))

    @override
    async def UpdateApplication(
        self, request: auth_pb2.UpdateApplicationRequest, context: Context
    ) -> auth_pb2.UpdateApplicationResponse:
        changed = await self._applications.set_redirect_urls(
            _id_of(request.application_id), request.redirect_urls, operator_id=request.operator_key_id
        )
        return auth_pb2.UpdateApplicationResponse(application=application_to_proto(changed))

    @override
    async def DeleteApplication(
        self, request: auth_pb2.DeleteApplicationRequest, context: Context
    ) -> auth_pb2.DeleteApplicationResponse:
        await self._deletions.request(
            _id_of(request.application_id), operator_id=request.operator_key_id, client=client_of(request.client)
        )
        return auth_pb2.DeleteApplicationResponse()

    @override
    async def AddUser(self, request: auth_pb2.AddUserRequest, context: Context) -> auth_pb2.AddUserResponse:
        user, is_new = await self._applications.add_user(
            request.external_user_id, application_id=_id_of(request.application_id)
        )
        return auth_pb2.AddUserResponse(user=user_to_proto(user), is_new=is_new)

    @override
    async def ListUsers(self, request: auth_pb2.ListUsersRequest, context: Context) -> auth_pb2.ListUsersResponse:
        after = uuid_or_none(request.page_token)
        if request.page_token and after is None:
            raise invalid_page_token()
        users, last = await self._applications.list_users(
            _id_of(request.application_id),
            external_user_id=request.external_user_id,
            after=after,
            page_size=request.page_size,
        )
        return auth_pb2.ListUsersResponse(
            users=map(user_to_proto, users), next_page_token="" if last is None else str(last)
        )

    @override
    async def GetApplicationUser(
        self, request: auth_pb2.GetApplicationUserRequest, context: Context
    ) -> auth_pb2.GetApplicationUserResponse:
        user_id = uuid_or_none(request.user_id)
        if user_id is None:
            # No user has such an id.
            raise user_not_found()
        user, accounts = await self._applications.describe_user(user_id, application_id=_id_of(request.application_id))
        return auth_pb2.GetApplicationUserResponse(user=user_to_proto(user), accounts=map(account_to_proto, accounts))


def _id_of(value: str) -> UUID:
    application_id = uuid_or_none(value)
    if application_id is None:
        raise application_not_found()
    return application_id
