"""Downloads of raw messages and attachments: fetched from the provider on demand, cached on disk, never in Postgres."""
