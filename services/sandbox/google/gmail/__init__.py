"""The Gmail API with batches, quota and push."""
