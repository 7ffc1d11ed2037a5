"""All SQL of the auth service: a module per table, and the transactions that join them."""
