"""A client of the IMAP protocol that only reads: TLS, sign-in with a token, folders, messages, IDLE."""
