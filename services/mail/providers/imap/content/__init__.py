"""Contents of messages over IMAP: whole, without attachments, and on demand."""
