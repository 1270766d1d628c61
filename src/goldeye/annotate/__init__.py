"""The annotation application: people compare versions of a picture with the original, blind and in random order.

`store` keeps people and votes, `assign` says who sees what, `app` is the HTTP interface, `server` runs it, `web/` is
the page. Import from the submodules: importing `goldeye.annotate` alone loads no database and no web framework.
"""
