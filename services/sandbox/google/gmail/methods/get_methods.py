"""Methods of the Gmail API that return one resource: profile, message, thread, draft, attachment."""

from base64 import urlsafe_b64encode

from services.sandbox.google.gmail.errors import INVALID_ID, NOT_FOUND, CallRefusedError, GoogleError, invalid_argument
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.mailboxes.mailbox import Message

MESSAGE_FORMATS = frozenset({"full", "metadata", "minimal", "raw"})
THREAD_FORMATS = frozenset({"full", "metadata", "minimal"})
_HEX = frozenset("0123456789abcdef")


def find_message(call: GmailCall, message_id: str) -> Message:
    """Return the message. Raises CallRefusedError: 400 for a malformed id, 404 for an unknown one."""
    message = call.mailbox.messages.get(message_id)
    if message is not None:
        return message
    raise CallRefusedError(_unknown_id(message_id))


def find_thread(call: GmailCall, thread_id: str) -> list[Message]:
    """Return the thread's messages, oldest first. Raises CallRefusedError as `find_message`."""
    thread = call.mailbox.threads.get(thread_id)
    if thread is None:
        raise CallRefusedError(_unknown_id(thread_id))
    return sorted(thread, key=lambda message: (message.internal_date, message.id))


def _unknown_id(name: str) -> GoogleError:
    is_well_formed = name and set(name) <= _HEX and len(name) <= 16
    return NOT_FOUND if is_well_formed else INVALID_ID


def get_profile(call: GmailCall) -> bytes:
    """users.getProfile."""
    mailbox = call.mailbox
    return to_json(
        {
            "emailAddress": call.user.email,
            "messagesTotal": len(mailbox.messages),
            "threadsTotal": len(mailbox.threads),
            "historyId": str(mailbox.history.current_id),
        }
    )


def list_send_as(call: GmailCall) -> bytes:
    """users.settings.sendAs.list: the main address, then further ones."""
    main, *others = call.user.addresses
    primary = {"sendAsEmail": main, "displayName": call.user.name, "isPrimary": True, "isDefault": True}
    further = [{"sendAsEmail": address, "treatAsAlias": True, "verificationStatus": "accepted"} for address in others]
    return to_json({"sendAs": [primary, *further]})


def _form(call: GmailCall, allowed: frozenset[str]) -> tuple[str, frozenset[str]]:
    form = call.choice("format", "full", allowed)
    if form in ("full", "raw") and not call.reads_bodies:
        raise CallRefusedError(GoogleError(403, "forbidden", f"Metadata scope doesn't allow format {form.upper()}"))
    return form, frozenset(name.lower() for name in call.many("metadataHeaders"))


def get_message(call: GmailCall) -> bytes:
    """users.messages.get in all formats."""
    form, headers = _form(call, MESSAGE_FORMATS)
    message = find_message(call, call.path[0])
    return call.renderer.message(call.mailbox, message, form=form, metadata_headers=headers)


def get_thread(call: GmailCall) -> bytes:
    """users.threads.get, which has no raw format."""
    form, headers = _form(call, THREAD_FORMATS)
    thread = find_thread(call, call.path[0])
    messages = [call.renderer.message(call.mailbox, item, form=form, metadata_headers=headers) for item in thread]
    newest = max(message.history_id for message in thread)
    return b'{"id":%s,"historyId":"%d","messages":[%s]}' % (to_json(call.path[0]), newest, b",".join(messages))


def get_draft(call: GmailCall) -> bytes:
    """users.drafts.get."""
    form, headers = _form(call, MESSAGE_FORMATS)
    message = call.mailbox.drafts.get(call.path[0])
    if message is None:
        raise CallRefusedError(NOT_FOUND)
    resource = call.renderer.message(call.mailbox, message, form=form, metadata_headers=headers)
    return b'{"id":%s,"message":%s}' % (to_json(call.path[0]), resource)


def get_attachment(call: GmailCall) -> bytes:
    """users.messages.attachments.get."""
    message = find_message(call, call.path[0])
    part_id = call.renderer.attachment_ids.part_id(message.id, call.path[1])
    if part_id is None:
        raise CallRefusedError(invalid_argument("Invalid attachment token"))
    part = call.mailbox.content(message).tree().find(part_id)
    if part is None:
        raise CallRefusedError(NOT_FOUND)
    data = part.read()
    return b'{"size":%d,"data":"%s"}' % (len(data), urlsafe_b64encode(data))
