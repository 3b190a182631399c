"""The review loop: a random share of all parts, and what people's decisions are used for."""
