"""The pool: `state` decides, `pool` and `keeper` act."""
