"""Alembic's environment: it runs on the connection that the store gives it."""

from __future__ import annotations

from alembic import context

from mambaad.serve.store.tables import metadata

if hasattr(context, "config"):  # else it is imported by something other than Alembic
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,  # SQLite changes a table by copying it
    )
    context.run_migrations()
