"""What alembic runs: the steps, on the connection that the store opened (one transaction for all of them)."""

from alembic import context

from goldeye.annotate.schema import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables, render_as_batch=True)
context.run_migrations()
