"""Steps from older stores to the present one, run by alembic when an older store is opened."""
