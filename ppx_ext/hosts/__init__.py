"""The only modules that know a trainer: `trl` (SFTTrainer) and `axolotl` (its plugin)."""
