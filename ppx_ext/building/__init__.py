"""Golden rows -> rows in the model's own words. Importing this package imports nothing heavy.

=========== ===================================================================
stage       `build`: shard by shard, on disk, killed and gone on with
golds       rows of any form -> what a builder is asked about, and back
job         all that a built data set depends on
lending     engines, judges and perplexity, opened and lent to a builder
provenance  where each target comes from: the shards, and the table of them all
composition own, paraphrase and gold in numbers, the paper's beside them
checks      a build that would be nothing but golds is stopped
card        the data card, and the upload
=========== ===================================================================
"""

from ppx_ext.building.stage import RECORD, BuiltRows, build, built_before

__all__ = ["RECORD", "BuiltRows", "build", "built_before"]
