"""What the shipped recipes are written from: one table of facts, so that they cannot drift.

    python -m tests.recipes.maker            # write them all
    python -m tests.recipes.maker --check    # fail where a file is not what would be written

============ ==================================================================================
facts        models, data and the papers' figures
settings     how the papers trained, and how we do where they do not say
recipe       what one recipe is
paper1 ...   the recipes of each paper; `beyond` holds those that are of none
head, hosts  a recipe -> the comment at its head, and its two files
============ ==================================================================================

The files are for people: each stands alone, and nobody needs the maker to use or change a copy.
Those on the embedded model are written by hand.
"""
