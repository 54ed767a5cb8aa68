"""`ppx init`: a recipe of one's own, from a few answers."""
