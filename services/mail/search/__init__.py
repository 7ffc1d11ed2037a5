"""Search: a query language, and the searchable form of messages. The store turns queries into SQL."""
