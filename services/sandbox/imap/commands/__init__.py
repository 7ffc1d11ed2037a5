"""The commands of IMAP, one module per group."""
