"""What one recipe is, in both hosts."""

from __future__ import annotations

from dataclasses import dataclass

from tests.recipes.maker.facts import Data, Model
from tests.recipes.maker.settings import Training


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe; each text becomes a paragraph of the head.

    Attributes:
        method: folder of its file.
        variant: end of its file's name, after the data set's key.
        title: what is done; data, model, adapter and host are added.
        block: the `ppx:` block, line by line, comments included.
        paper: whose it is, with its table.
        gave: what it gave there.
        same: what is as in the paper.
        measured: what the `eval:` block measures, and what the paper does.
        deviations: what is not, and why.
        unpublished: facts that the paper does not tell.
        hardware: card and time, and whether they are estimated.
        first: a command that comes before all others, in this host.
        arms: of a comparison that this recipe is a start for.
        extras: of the installation, beside the host's own.
        sandbox: whether programs of the model are run.
    """

    method: str
    model: Model
    data: Data
    variant: str = ""
    title: str
    block: tuple[str, ...]
    training: Training
    paper: str
    gave: str
    same: str = ""
    measured: str = ""
    deviations: str
    unpublished: str
    hardware: str
    first: str = ""
    arms: str = ""
    extras: tuple[str, ...] = ()
    sandbox: bool = False

    @property
    def task(self) -> str:
        """Name of the file, without the host."""
        return "-".join(part for part in (self.data.key, self.variant) if part)

    @property
    def name(self) -> str:
        """Name of the recipe, without the host."""
        return f"{self.method}/{self.model.folder}/{self.task}"

    @property
    def label(self) -> str:
        """For folders: the name in one word."""
        return f"{self.method}-{self.model.folder}-{self.task}".replace("_", "-")

    @property
    def folder(self) -> str:
        """Where the data lie."""
        return f"data/{self.data.key}"

    @property
    def builds(self) -> bool:
        """Whether rows are built first."""
        return any(line.startswith("build:") for line in self.block)

    @property
    def scores(self) -> bool:
        """Whether rows are scored or chosen first."""
        return any(line.startswith(("mask:", "choose:")) for line in self.block)
