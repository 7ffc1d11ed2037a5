"""The gateway: the public REST API in front of auth and mail. Has no tables and no business rules."""
