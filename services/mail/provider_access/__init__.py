"""Access to providers for all callers in mail: quota, concurrency limits, access tokens, and calls under these."""
