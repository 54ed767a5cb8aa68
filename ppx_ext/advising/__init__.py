"""The advisor: how difficult the rows should be for a budget, from pilots on the user's own data.

`pilots` reads their results, `surface` fits them, `doubt` says what chance allows, `advice` makes
the recommendation, `running` runs pilots, `drawing`, `page` and `show` present it.
"""
