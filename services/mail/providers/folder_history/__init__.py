"""One history per mailbox, made from looks at its folders, for providers that keep none themselves."""
