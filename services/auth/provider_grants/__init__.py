"""The grants that users gave at mail providers: accounts, access tokens, disconnection and revocation."""
