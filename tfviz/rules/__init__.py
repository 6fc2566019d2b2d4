"""Rules: how each kind of operation propagates backwards."""
