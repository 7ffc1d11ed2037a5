"""All SQL of the mail service. Functions take a connection: use cases choose the transaction. Calls no provider."""
