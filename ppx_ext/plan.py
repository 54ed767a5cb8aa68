"""The `ppx:` block -> a checked `Plan`. Nothing below this module sees YAML.

Every problem of a block is reported at once, each with the key it lies at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pydantic

from ppx_ext import answering as a
from ppx_ext import contracts as c
from ppx_ext.catalog import Catalog
from ppx_ext.eval_plan import Evaluation, evaluation_of
from ppx_ext.stages import JudgeStage, Stage, generator_of, judges_of, stage_of, validate

C = TypeVar("C", bound=c.Component)
MaskedRows: TypeAlias = Literal["all", "gold"]
Apply: TypeAlias = Literal["baked", "collator", "online"]


class PlanError(ValueError):
    """The block is wrong; the message lists each problem with its key."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"the ppx block has {len(problems)} problem(s):\n{lines}")


class Scoring(pydantic.BaseModel):
    """How scores are computed; of these only ``dtype`` can change a value beyond rounding."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int | None = pydantic.Field(default=None, gt=0)
    device: str | None = None


class Kl(pydantic.BaseModel):
    """The `kl:` stage: ``beta`` times a KL divergence to the base is added to the loss.

    It is KL(policy || base) over the whole vocabulary, meant over target tokens, in nats; the base
    is the model with its adapters off (the baseline of arXiv 2501.14315, Table 8, put right).
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    beta: float = pydantic.Field(default=0.1, ge=0.0, allow_inf_nan=False)


class _Block(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    build: dict[str, Any] | None = None
    choose: dict[str, Any] | None = None
    mask: dict[str, Any] | None = None
    eval: dict[str, Any] | None = None
    kl: Kl | None = None
    scoring: Scoring = Scoring()
    seed: int = pydantic.Field(default=42, ge=0)
    max_skipped_share: float = pydantic.Field(default=0.01, ge=0.0, le=1.0)
    shard_rows: int = pydantic.Field(default=1024, gt=0)
    cache_dir: Path | None = None
    trust_remote_code: bool = False
    token_level_loss: bool | None = None


class _MaskKeys(pydantic.BaseModel):
    apply: Apply = "baked"
    mask_eval: bool = False
    rows: MaskedRows | None = None


_BUILD_KEYS = ("judge", "generator")
_CHOOSE_KEYS = ("by",)
_EXAMPLES = {"build": "s3ft", "choose": "budget", "mask": "stm"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recipe's `ppx:` block asks for.

    Attributes:
        build, choose, mask: the chosen component of each stage, or None for identity.
        eval: what is measured and when; None is nothing.
        kl: a divergence to the base in the loss; None is none.
        measure: of the difficulty that ``choose`` goes by; the paper's own where none is named.
        judges: of the built responses, in order: the first that can tell decides.
        generator: the engine that answers a builder's requests.
        masked_rows: ``gold`` masks only rows whose target is the user's gold, which is how it is
            after a builder; ``all`` masks all of them.
        apply: how the mask reaches the loss: baked into labels before training (``baked``), when
            a batch is made (``collator``), or from the base scored in the step (``online``).
        mask_eval: mask the evaluation split too; off, so that its loss stays comparable.
        scoring: dtype, batch size and device of the scoring pass.
        seed: of everything random here, mixed with stage and row.
        max_skipped_share: share of rows, in [0, 1], that may be skipped before it is an error.
        shard_rows: rows scored between two writes to disk.
        cache_dir: where scores are kept; None lets the host choose.
        trust_remote_code: passed to every loader; off unless the user says so.
        token_level_loss: True makes Axolotl 0.19 average the loss over tokens (see its page);
            None leaves the host's own way.
    """

    build: Stage[a.Builder] | None = None
    choose: Stage[c.Sampler] | None = None
    mask: Stage[c.Mask] | None = None
    eval: Evaluation | None = None
    kl: Kl | None = None
    measure: Stage[c.ExampleScorer] | None = None
    judges: tuple[JudgeStage, ...] = ()
    generator: Stage[a.Generator] | None = None
    masked_rows: MaskedRows = "all"
    apply: Apply = "baked"
    mask_eval: bool = False
    scoring: Scoring = Scoring()
    seed: int = 42
    max_skipped_share: float = 0.01
    shard_rows: int = 1024
    cache_dir: Path | None = None
    trust_remote_code: bool = False
    token_level_loss: bool | None = None

    def dump(self) -> dict[str, Any]:
        """The plan as plain JSON values, defaults included, for manifests and reports."""
        stages = {name: getattr(self, name) for name in ("build", "choose", "mask", "eval")}
        block: dict[str, Any] = {name: stage.dump() for name, stage in stages.items() if stage}
        if self.mask:
            own = {"apply": self.apply, "mask_eval": self.mask_eval, "rows": self.masked_rows}
            block["mask"] |= own
        if self.choose:
            block["choose"]["by"] = self.measure.dump() if self.measure else None
        if self.build:
            block["build"]["judge"] = [judge.dump() for judge in self.judges]
            block["build"]["generator"] = self.generator.dump() if self.generator else None
        if self.kl:
            block["kl"] = self.kl.model_dump()
        keys = ("seed", "max_skipped_share", "shard_rows", "trust_remote_code", "token_level_loss")
        block |= {key: getattr(self, key) for key in keys}
        block["scoring"] = self.scoring.model_dump(mode="json")
        block["cache_dir"] = str(self.cache_dir) if self.cache_dir else None
        return block


def parse(block: Mapping[str, Any] | None, catalog: Catalog) -> Plan:
    """Check a `ppx:` block against the installed methods.

    Raises:
        PlanError: unknown or missing keys, wrong values, unknown components; all of them at once.
    """
    if not isinstance(block, Mapping):
        raise PlanError([f"ppx: must be a mapping of stages, not {type(block).__name__}"])
    problems: list[str] = []
    checked = validate(_Block, dict(block), "ppx", problems)
    if checked is None:
        raise PlanError(problems)
    mask_block, own = _split(checked.mask, tuple(_MaskKeys.model_fields))
    build_block, lent = _split(checked.build, _BUILD_KEYS)
    choose_block, by = _split(checked.choose, _CHOOSE_KEYS)
    mask_keys = validate(_MaskKeys, own, "ppx.mask", problems) or _MaskKeys()

    def stage(name: str, kind: str, expected: type[C], extra: tuple[str, ...] = ()) -> Any:
        ours = {"mask": mask_block, "build": build_block, "choose": choose_block}
        block = ours.get(name, getattr(checked, name))
        if block is None:
            return None
        where, example = f"ppx.{name}", _EXAMPLES[name]
        return stage_of(
            block, where, catalog, kind, expected, problems, extra_keys=extra, example=example
        )

    build: Stage[a.Builder] | None = stage("build", "builder", a.Builder, _BUILD_KEYS)
    plan = Plan(
        build=build,
        choose=stage("choose", "sampler", c.Sampler, _CHOOSE_KEYS),
        measure=_measure(choose_block, by, catalog, problems),
        mask=stage("mask", "mask", c.Mask, tuple(_MaskKeys.model_fields)),
        eval=evaluation_of(checked.eval, catalog, problems) if checked.eval is not None else None,
        judges=_judges(build, lent, catalog, problems),
        generator=_generator(build, lent, catalog, problems),
        masked_rows=mask_keys.rows or ("gold" if build else "all"),
        apply=mask_keys.apply,
        mask_eval=mask_keys.mask_eval,
        **{name: getattr(checked, name) for name in _PLAIN},
    )
    problems += _contradictions(plan)
    if problems:
        raise PlanError(problems)
    return plan


def _contradictions(plan: Plan) -> list[str]:
    found = []
    if plan.mask and plan.apply == "online" and not plan.mask.component.online(plan.mask.settings):
        found.append(
            f"ppx.mask.apply: online cannot be used with these settings of "
            f"{plan.mask.component.name!r}: they need the whole data set or scores made "
            "beforehand. Use `apply: baked`."
        )
    if plan.mask and plan.masked_rows == "gold" and plan.build is None:
        found.append(
            "ppx.mask.rows: gold speaks of the golds that a builder leaves, and there is no "
            "`build:`. Remove the key, or add a builder."
        )
    if plan.mask and plan.masked_rows == "gold" and plan.apply != "baked":
        found.append(
            f"ppx.mask.apply: {plan.apply} sees batches, in which golds and the model's own words "
            "look alike. Use `apply: baked`, or mask them all with `rows: all`."
        )
    return found


def _split(
    block: Mapping[str, Any] | None, keys: tuple[str, ...]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """A stage's block without the keys that are ours and not its component's; and those."""
    if block is None:
        return None, {}
    rest = {key: value for key, value in block.items() if key not in keys}
    return rest, {key: value for key, value in block.items() if key in keys}


def _judges(
    build: Stage[a.Builder] | None, lent: dict[str, Any], catalog: Catalog, problems: list[str]
) -> tuple[JudgeStage, ...]:
    if "judge" in lent:
        return judges_of(lent["judge"], "ppx.build.judge", catalog, problems)
    if build is not None and build.component.judged(build.settings):
        names = ", ".join(catalog.names("judge")) or "none is installed"
        problems.append(
            f"ppx.build.judge: {build.component.name!r} keeps only what a judge finds correct; "
            f"name one, for instance `judge: math` ({names})"
        )
    return ()


def _measure(
    choose: dict[str, Any] | None, own: dict[str, Any], catalog: Catalog, problems: list[str]
) -> Stage[c.ExampleScorer] | None:
    if choose is None:
        return None
    # The length of the response is the measure of arXiv 2605.12906.
    by = own.get("by", "response_length")
    return stage_of(
        by,
        "ppx.choose.by",
        catalog,
        "measure",
        c.ExampleScorer,
        problems,
        example="response_length",
    )


def _generator(
    build: Stage[a.Builder] | None, lent: dict[str, Any], catalog: Catalog, problems: list[str]
) -> Stage[a.Generator] | None:
    if build is None:
        return None
    return generator_of(
        lent.get("generator", "transformers"), "ppx.build.generator", catalog, problems
    )


_PLAIN = (
    "kl",
    "scoring",
    "seed",
    "max_skipped_share",
    "shard_rows",
    "cache_dir",
    "trust_remote_code",
    "token_level_loss",
)
