"""Fields of the API's resources as in Google's discovery document (gmail v1), for masks and deviations."""

SCHEMA: dict[str, dict[str, str]] = {
    "Message": {
        "id": "",
        "threadId": "",
        "labelIds": "[]",
        "snippet": "",
        "historyId": "",
        "internalDate": "",
        "payload": "MessagePart",
        "sizeEstimate": "",
        "raw": "",
        "classificationLabelValues": "ClassificationLabelValue[]",
    },
    "ClassificationLabelValue": {"labelId": "", "fields": "ClassificationLabelFieldValue[]"},
    "ClassificationLabelFieldValue": {"fieldId": "", "selection": ""},
    "MessagePart": {
        "partId": "",
        "mimeType": "",
        "filename": "",
        "headers": "MessagePartHeader[]",
        "body": "MessagePartBody",
        "parts": "MessagePart[]",
    },
    "MessagePartHeader": {"name": "", "value": ""},
    "MessagePartBody": {"attachmentId": "", "size": "", "data": ""},
    "Thread": {"id": "", "snippet": "", "historyId": "", "messages": "Message[]"},
    "Label": {
        "id": "",
        "name": "",
        "messageListVisibility": "",
        "labelListVisibility": "",
        "type": "",
        "messagesTotal": "",
        "messagesUnread": "",
        "threadsTotal": "",
        "threadsUnread": "",
        "color": "LabelColor",
    },
    "LabelColor": {"textColor": "", "backgroundColor": ""},
    "Draft": {"id": "", "message": "Message"},
    "Profile": {"emailAddress": "", "messagesTotal": "", "threadsTotal": "", "historyId": ""},
    "History": {
        "id": "",
        "messages": "Message[]",
        "messagesAdded": "HistoryMessageAdded[]",
        "messagesDeleted": "HistoryMessageDeleted[]",
        "labelsAdded": "HistoryLabelAdded[]",
        "labelsRemoved": "HistoryLabelRemoved[]",
    },
    "HistoryMessageAdded": {"message": "Message"},
    "HistoryMessageDeleted": {"message": "Message"},
    "HistoryLabelAdded": {"message": "Message", "labelIds": "[]"},
    "HistoryLabelRemoved": {"message": "Message", "labelIds": "[]"},
    "ListMessagesResponse": {"messages": "Message[]", "nextPageToken": "", "resultSizeEstimate": ""},
    "ListThreadsResponse": {"threads": "Thread[]", "nextPageToken": "", "resultSizeEstimate": ""},
    "ListLabelsResponse": {"labels": "Label[]"},
    "ListDraftsResponse": {"drafts": "Draft[]", "nextPageToken": "", "resultSizeEstimate": ""},
    "ListHistoryResponse": {"history": "History[]", "nextPageToken": "", "historyId": ""},
    "WatchResponse": {"historyId": "", "expiration": ""},
    "ListSendAsResponse": {"sendAs": "SendAs[]"},
    "SendAs": {
        "sendAsEmail": "",
        "displayName": "",
        "replyToAddress": "",
        "signature": "",
        "isPrimary": "",
        "isDefault": "",
        "treatAsAlias": "",
        "smtpMsa": "SmtpMsa",
        "verificationStatus": "",
    },
    "SmtpMsa": {"host": "", "port": "", "username": "", "password": "", "securityMode": ""},
    "ModifyMessageRequest": {
        "addLabelIds": "[]",
        "removeLabelIds": "[]",
        "addClassificationLabels": "ClassificationLabelValue[]",
        "removeClassificationLabelIds": "[]",
    },
    "BatchModifyMessagesRequest": {
        "ids": "[]",
        "addLabelIds": "[]",
        "removeLabelIds": "[]",
        "addClassificationLabels": "ClassificationLabelValue[]",
        "removeClassificationLabelIds": "[]",
    },
    "BatchDeleteMessagesRequest": {"ids": "[]"},
    "ModifyThreadRequest": {"addLabelIds": "[]", "removeLabelIds": "[]"},
    "WatchRequest": {"topicName": "", "labelIds": "[]", "labelFilterBehavior": "", "labelFilterAction": ""},
}
"""Type -> field -> type of its value: `""` for a plain one, `X` for an object, `X[]` and `[]` for arrays."""


def with_deviations(
    value: dict[str, object], kind: str, *, empty_arrays: bool, extra_fields: bool
) -> dict[str, object]:
    """Return a resource that deviates from Google's: empty arrays present, undocumented fields added."""
    out = dict(value)
    for name, shape in SCHEMA.get(kind, {}).items():
        inner = shape.removesuffix("[]")
        found = out.get(name)
        if shape.endswith("[]") and found is None and empty_arrays:
            out[name] = []
        elif isinstance(found, list) and inner:
            out[name] = [
                with_deviations(item, inner, empty_arrays=empty_arrays, extra_fields=extra_fields) for item in found
            ]
        elif isinstance(found, dict) and inner:
            out[name] = with_deviations(found, inner, empty_arrays=empty_arrays, extra_fields=extra_fields)
    if extra_fields:
        out["xSandboxExtra"] = {"kind": kind, "values": [1, None, "?"]}
    return out
