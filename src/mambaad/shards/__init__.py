"""Jobs over very many images: a manifest, its shards, their records, and what executes them."""
