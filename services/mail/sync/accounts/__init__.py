"""What a turn learns of the account at the provider: whether it grants access, and its address."""
