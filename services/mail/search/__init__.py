"""Search: a query language like Gmail's, and what of a message it finds. The store turns both into SQL."""
