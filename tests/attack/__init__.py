"""Attacks on the whole product: malformed inputs, kills, races and limits. See README.md."""
