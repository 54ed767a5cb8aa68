"""How Axolotl tokenises rows that carry more than tokens: the columns that a stage reads later.

Named by ``type:`` of a data set. Axolotl drops every column but those that a strategy returns; what
it does later (merging, shuffling, filtering, splitting, packing) keeps whole rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TYPE = __name__
INNER, KEEP = "ppx_type", "ppx_keep"
"""Keys of a data set's entry: the type that it had, and the columns that are carried along."""

_BUILT = ("messages", "tools")


def load(tokenizer: Any, cfg: Any, ds_cfg: Any = None, processor: Any = None) -> Any:
    """What Axolotl calls for a data set of `TYPE`."""
    from axolotl.prompt_strategies.chat_template import StrategyLoader

    keep = ds_cfg.get(KEEP) or ()
    if ds_cfg.get(INNER) is None:
        chats = StrategyLoader()(tokenizer, cfg, ds_cfg=ds_cfg, processor=processor)
        return Strategy(chats, keep, read=_BUILT, where=ds_cfg["path"])
    return Strategy(_inner(tokenizer, cfg, ds_cfg, processor), keep, where=ds_cfg["path"])


def carrying(entries: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[Any]:
    """The entries of a config's data sets, pointed at `TYPE`, so that ``columns`` come along.

    Rows that are tokenised already (their entry has no type) keep all that they have.
    """
    from axolotl.utils.dict import DictDefault as Dict

    def one(entry: Mapping[str, Any]) -> Any:
        kind = entry.get("type")
        if kind is None:
            return entry
        if kind == TYPE:
            return Dict({**entry, KEEP: [*entry[KEEP], *columns]})
        return Dict({**entry, "type": TYPE, INNER: kind, KEEP: list(columns)})

    return [one(entry) for entry in entries]


def _inner(tokenizer: Any, cfg: Any, entry: Any, processor: Any) -> Any:
    """Axolotl's own strategy for the type that the entry had."""
    from axolotl.prompt_strategies import load as strategy_of
    from axolotl.utils.dict import DictDefault as Dict

    kind = entry[INNER]
    if isinstance(kind, Mapping):
        return strategy_of("user_defined", tokenizer, cfg, dict(kind))
    found = strategy_of(kind, tokenizer, cfg, Dict({**entry, "type": kind}), processor=processor)
    if hasattr(found, "tokenize_prompt"):
        return found
    raise ValueError(
        f"{entry['path']}: the columns {', '.join(entry[KEEP])} must be there after tokenisation, "
        f"and Axolotl drops them from a data set of the type {kind!r}. Use `type: chat_template` "
        "(or completion, input_output, or a mapping of fields), or tokenise the rows beforehand."
    )


class Strategy:
    """Axolotl's own strategy, row by row, with some of the row's columns beside what it makes."""

    supports_batched = True

    def __init__(
        self, inner: Any, keep: Iterable[str], *, where: str, read: Sequence[str] = ()
    ) -> None:
        self.inner, self.keep, self.where, self.read = inner, tuple(keep), where, read
        self.filter_rows = getattr(inner, "filter_rows", None)

    def tokenize_prompt(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Ids, labels and mask of each row, and its columns.

        Raises:
            ValueError: a column is not there.
        """
        if missing := [name for name in self.keep if name not in batch]:
            raise ValueError(
                f"{self.where} has no column {', '.join(map(repr, missing))}, which the `ppx:` "
                f"block reads; it has {', '.join(batch)}"
            )
        found: dict[str, list[Any]] = {}
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            made = self._rows(row)
            made |= {name: [row[name]] * len(made["input_ids"]) for name in self.keep}
            for name, column in made.items():
                found.setdefault(name, []).extend(column)
        return found

    def _rows(self, row: Mapping[str, Any]) -> dict[str, list[Any]]:
        """What the inner strategy makes of a row, which may be several."""
        if self.read:
            row = {name: row[name] for name in self.read if row.get(name) is not None}
        if _takes_only_batches(self.inner):
            return dict(self.inner.tokenize_prompt({name: [value] for name, value in row.items()}))
        return {name: [value] for name, value in self.inner.tokenize_prompt(row).items()}


def _takes_only_batches(inner: Any) -> bool:
    """A strategy for chats can also take one row, and tells the two apart by what it is given."""
    return bool(inner.supports_batched) and not hasattr(inner, "is_prompt_batched")
