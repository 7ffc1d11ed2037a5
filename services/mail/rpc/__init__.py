"""The gRPC services of mail: convert, call, convert. Only here does protobuf meet the domain."""

from collections.abc import Callable, Mapping
from functools import partial

from grpc import aio
from mailroom.mail.v1 import mail_pb2_grpc

from services.mail.disconnect import Disconnections
from services.mail.downloads.fetch import Downloads
from services.mail.ids import PublicIds
from services.mail.mailboxes import Mailboxes
from services.mail.notifications import Notifications
from services.mail.providers.limits import ProviderLimits
from services.mail.reading.change_feed import ChangeFeed
from services.mail.reading.messages import Messages
from services.mail.reading.sync_list import SyncList
from services.mail.reading.threads import Threads
from services.mail.reading.usage import UsageReports
from services.mail.rpc.mailboxes import MailboxServicer
from services.mail.rpc.messages import MessageServicer
from services.mail.rpc.syncs import SyncServicer
from services.mail.rpc.usage import UsageServicer
from services.mail.rpc.webhooks import WebhookServicer
from services.mail.syncs import Syncs
from services.mail.webhooks.endpoints import Webhooks

CALLERS = {
    "mailroom.mail.v1.MailboxService": frozenset({"gateway"}),
    "mailroom.mail.v1.MessageService": frozenset({"gateway"}),
    "mailroom.mail.v1.SyncService": frozenset({"gateway"}),
    "mailroom.mail.v1.WebhookService": frozenset({"gateway"}),
    "mailroom.mail.v1.UsageService": frozenset({"gateway"}),
}

# Their callers prove themselves by a token of the provider.
UNPROVEN = frozenset({"/mailroom.mail.v1.SyncService/AcceptPush"})


def registrations(
    *,
    mailboxes: Mailboxes,
    disconnections: Disconnections,
    messages: Messages,
    threads: Threads,
    changes: ChangeFeed,
    syncs: Syncs,
    sync_list: SyncList,
    notifications: Notifications,
    downloads: Downloads,
    webhooks: Webhooks,
    usage: UsageReports,
    ids: PublicIds,
    limits: Mapping[str, ProviderLimits],
) -> list[Callable[[aio.Server], None]]:
    """Return the functions that add mail's services to a server. `limits` of providers tell when syncs may end."""
    return [
        partial(
            mail_pb2_grpc.add_MailboxServiceServicer_to_server, MailboxServicer(mailboxes, disconnections, ids=ids)
        ),
        partial(
            mail_pb2_grpc.add_MessageServiceServicer_to_server,
            MessageServicer(mailboxes, messages, threads, changes, downloads, ids=ids),
        ),
        partial(
            mail_pb2_grpc.add_SyncServiceServicer_to_server,
            SyncServicer(
                mailboxes,
                syncs,
                sync_list,
                notifications,
                ids=ids,
                seconds_per_message={name: limit.seconds_per_message for name, limit in limits.items()},
            ),
        ),
        partial(mail_pb2_grpc.add_WebhookServiceServicer_to_server, WebhookServicer(webhooks, ids=ids)),
        partial(mail_pb2_grpc.add_UsageServiceServicer_to_server, UsageServicer(mailboxes, usage)),
    ]
