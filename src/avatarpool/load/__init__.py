"""Rounds of requests through a pool, and the report on them."""
