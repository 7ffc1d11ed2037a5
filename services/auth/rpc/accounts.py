"""mailroom.auth.v1.AccountService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.applications.deletions import ApplicationDeletions
from services.auth.errors import account_not_found
from services.auth.model import Account
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.rpc.from_proto import user_id_of, uuid_or_none
from services.auth.rpc.to_proto import account_to_proto
from services.kit.rpc.server import Context


class AccountServicer(auth_pb2_grpc.AccountServiceServicer):
    """mailroom.auth.v1.AccountService."""

    def __init__(
        self, accounts: Accounts, disconnections: Disconnections, application_deletions: ApplicationDeletions
    ) -> None:
        self._accounts = accounts
        self._disconnections = disconnections
        self._application_deletions = application_deletions

    @override
    async def ListAccounts(
        self, request: auth_pb2.ListAccountsRequest, context: Context
    ) -> auth_pb2.ListAccountsResponse:
        if request.application_id:
            accounts = await self._of_application(request)
        else:
            accounts = await self._accounts.list_accounts(user_id_of(request.user_id))
        return auth_pb2.ListAccountsResponse(accounts=[account_to_proto(account) for account in accounts])

    @override
    async def ReportAccount(
        self, request: auth_pb2.ReportAccountRequest, context: Context
    ) -> auth_pb2.ReportAccountResponse:
        account_id, user_id = uuid_or_none(request.account_id), uuid_or_none(request.user_id)
        if account_id is None or user_id is None:
            # No account has such an id.
            raise account_not_found()
        await self._accounts.report(
            account_id=account_id,
            user_id=user_id,
            access_denied_reason=request.access_denied_reason if request.HasField("access_denied_reason") else None,
            email=request.email,
        )
        return auth_pb2.ReportAccountResponse()

    @override
    async def DisconnectAccount(
        self, request: auth_pb2.DisconnectAccountRequest, context: Context
    ) -> auth_pb2.DisconnectAccountResponse:
        account_id, user_id = uuid_or_none(request.account_id), uuid_or_none(request.user_id)
        if account_id is not None and user_id is not None:
            await self._disconnections.disconnect(account_id=account_id, user_id=user_id)
        return auth_pb2.DisconnectAccountResponse()

    @override
    async def DeleteUser(self, request: auth_pb2.DeleteUserRequest, context: Context) -> auth_pb2.DeleteUserResponse:
        user_id = user_id_of(request.user_id)
        application_id = uuid_or_none(request.application_id)
        if application_id is None or await self._accounts.has_user(user_id, application_id=application_id):
            await self._disconnections.delete_user(user_id)
        return auth_pb2.DeleteUserResponse()

    @override
    async def ListDeletedApplications(
        self, request: auth_pb2.ListDeletedApplicationsRequest, context: Context
    ) -> auth_pb2.ListDeletedApplicationsResponse:
        requested = await self._application_deletions.list_requested()
        return auth_pb2.ListDeletedApplicationsResponse(application_ids=map(str, requested))

    @override
    async def EraseApplication(
        self, request: auth_pb2.EraseApplicationRequest, context: Context
    ) -> auth_pb2.EraseApplicationResponse:
        application_id = uuid_or_none(request.application_id)
        erased = application_id is None or await self._application_deletions.erase_some(application_id)
        return auth_pb2.EraseApplicationResponse(erased=erased)

    async def _of_application(self, request: auth_pb2.ListAccountsRequest) -> list[Account]:
        application_id, account_id = uuid_or_none(request.application_id), uuid_or_none(request.account_id)
        if application_id is None or (request.account_id and account_id is None):
            return []
        return await self._accounts.list_of_application(application_id, account_id=account_id)
