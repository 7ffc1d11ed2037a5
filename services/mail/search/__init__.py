"""Search: a query language like Gmail's, and the searchable form of messages. The store turns queries into SQL."""
