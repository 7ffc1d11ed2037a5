"""What a form has done, said on the page that follows."""

OUTCOMES = {
    "sync": "The sync is on its way.",
    "verify": "The comparison is on its way.",
    "cancel": "The sync is cancelled. What is copied stays.",
    "retry": "The sync goes on. What failed is tried again.",
    "disconnect": "The mailbox is disconnected. Its mail is being erased.",
    "revoke": "The key is revoked. Within five seconds it is refused everywhere.",
    "signed_out": "You are signed out.",
    "connect": "The mailbox is connected. Start a sync to copy its mail.",
    "webhook_changed": "The webhook is changed.",
    "webhook_deleted": "The webhook is deleted.",
    "webhook_disabled": "The webhook is disabled. Its events wait until it is enabled.",
    "webhook_enabled": "The webhook is enabled. It goes on where it stopped.",
    "webhook_test": "A test is on its way. Look again in a moment for the answer.",
    "webhook_retry": "The event is sent once more. Look again in a moment for the answer.",
    "webhook_replay": "What was asked for is sent again, in order.",
    "sandbox_filled": "The mailbox is in the sandbox. Connect it to copy its mail.",
    "sandbox_delivered": "The messages have arrived in the sandbox.",
}
