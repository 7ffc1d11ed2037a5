"""The settings of the providers."""

from services.mail.providers.gmail.settings import GmailPushSettings, GmailSettings
from services.mail.providers.imap.settings import ImapSettings


class ProviderSettings(
    GmailSettings,
    ImapSettings,
):
    """The settings of all providers."""


class NotificationSettings(GmailPushSettings):
    """The settings of all providers' notifications."""
