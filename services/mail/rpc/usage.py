"""The servicer of mailroom.mail.v1.UsageService."""

from dataclasses import replace

from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.errors import AppError, Kind
from services.kit.rpc.server import Context
from services.mail.mailboxes import Mailboxes
from services.mail.model import Measure, UsageHour
from services.mail.reading.usage import UsageReports
from services.mail.rpc.from_proto import find_mailbox, reach_of_caller
from services.mail.rpc.to_proto import timestamp


class UsageServicer(mail_pb2_grpc.UsageServiceServicer):
    """Reports of the use of an application and of its mailboxes."""

    def __init__(self, mailboxes: Mailboxes, usage: UsageReports) -> None:
        self._mailboxes = mailboxes
        self._usage = usage

    async def GetUsage(self, request: mail_pb2.GetUsageRequest, context: Context) -> mail_pb2.GetUsageResponse:
        reach = reach_of_caller()
        if reach is None:
            raise AppError(Kind.FORBIDDEN, "wrong_credential", "This needs an API key of an application.")
        if request.mailbox.WhichOneof("selector") is not None:
            mailbox = await find_mailbox(self._mailboxes, request.user_id, request.mailbox)
            reach = replace(reach, account_ids=frozenset({mailbox.account_id}))
        usage = await self._usage.read(reach, hours=request.hours)
        return mail_pb2.GetUsageResponse(
            hours=map(_hour, usage.hours),
            active_count=usage.mailboxes.active,
            reauth_required_count=usage.mailboxes.reauth_required,
            access_denied_count=usage.mailboxes.access_denied,
        )


def _hour(hour: UsageHour) -> mail_pb2.UsageHour:
    return mail_pb2.UsageHour(
        hour_time=timestamp(hour.hour),
        stored_count=hour.counts[Measure.MESSAGES_STORED],
        change_count=hour.counts[Measure.CHANGES],
        delivered_count=hour.counts[Measure.DELIVERED],
        failed_count=hour.counts[Measure.FAILED],
        parked_count=hour.counts[Measure.PARKED],
        provider_units=hour.counts[Measure.PROVIDER_UNITS],
    )
