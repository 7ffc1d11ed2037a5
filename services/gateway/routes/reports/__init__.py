"""What an application uses, and what happened in it."""
