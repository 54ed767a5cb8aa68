"""How the demo trains and measures; everything that all its arms share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every arm is trained and measured. The `ppx:` block is all that differs between arms.

    No masked run on this base and these golds was looked at before the settings were fixed (masked
    runs on an earlier base and wording had been seen), and none on rows that were built.

    * LoRA on all linear layers, rank 16 and alpha 32, as is usual; no dropout; cosine, short
      warm-up. Learning rate 2e-3: of 1e-3, 2e-3 and 4e-3, *plain* SFT answers the target best at
      the latter two (27, 31.5 and 31.5 right of 100, two seeds that the demo does not use), and
      forgets less at the smaller of them.
    * Three epochs over 400 rows in batches of 16 (75 steps), as the paper trains three epochs over
      374 rows (MBPP, arXiv 2501.14315, appendix F).
    * The paper's threshold, 2.5, in all its experiments on Llama and Gemma.
    * 100 held-out items a task: an accuracy of one half is known to within 10 points, the mean
      of nine tasks to within 3.
    """

    train_rows: int = 400
    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 5
    lora_rank: int = 16
    lora_alpha: int = 32
    max_length: int = 512
    ppl_threshold: float = 2.5
    test_items: int = 100
    test_batch: int = 100
