"""The base model of a TRL run: loaded the way `SFTTrainer` would have loaded it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ppx_ext.effects import Base, base_from_path
from ppx_ext.files import fingerprint

if TYPE_CHECKING:
    from ppx_ext.plan import Plan


def load_model(call: dict[str, Any]) -> Any:
    """Load ``call["model"]``, a path or hub id, as `SFTTrainer` does, and take out what was used.

    Masking reads the base while `SFTTrainer` prepares its data, long before it offers its model. So
    it is whole in each process; what shards it for the training does so later.
    """
    from accelerate import DistributedType
    from trl.trainer import sft_trainer
    from trl.trainer.utils import create_model_from_path

    from ppx_ext.scoring.whole import whole

    args, path = call["args"], call["model"]
    init = dict(args.model_init_kwargs or {})
    if call.get("quantization_config") is not None:
        if "quantization_config" in init:
            raise ValueError(
                "quantization_config is given to the trainer and in model_init_kwargs; give it once"
            )
        init["quantization_config"] = call.pop("quantization_config")
    parallel = (DistributedType.MULTI_GPU, DistributedType.DEEPSPEED)
    if args.distributed_state.distributed_type in parallel:
        init["device_map"] = None
    init.setdefault("trust_remote_code", args.trust_remote_code)
    if call.get("processing_class") is None:
        call["processing_class"] = _processor(path, init, args)
    if hasattr(sft_trainer, "set_seed"):  # lines that seed before they load
        from transformers import set_seed

        set_seed(args.seed)
    args.model_init_kwargs = None  # TRL warns that they have no effect on a loaded model
    with whole():
        return create_model_from_path(path, **init)


def _processor(path: str, init: dict[str, Any], args: Any) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(
        path, revision=init.get("revision"), trust_remote_code=args.trust_remote_code
    )


def recipe_base(path: str, *, init: dict[str, Any], quantization: Any, plan: Plan) -> Base:
    """The base of a recipe, which is scored before any trainer exists, and freed after.

    A model that is trained quantised is scored quantised: that is the base that training starts
    from, and the only one that is sure to fit.
    """
    plain = base_from_path(
        path,
        revision=init.get("revision"),
        scoring=plan.scoring,
        trust_remote_code=bool(init.get("trust_remote_code")),
    )
    if quantization is None:
        return plain

    @functools.cache
    def load() -> Any:
        from trl.trainer.utils import create_model_from_path

        from ppx_ext.scoring.whole import whole

        with whole():
            return create_model_from_path(path, **init, quantization_config=quantization)

    @functools.cache
    def digest() -> str:
        settings = {key: str(value) for key, value in quantization.to_dict().items()}
        return fingerprint({"weights": plain.fingerprint(), "quantization": settings})

    return Base(name=path, load=load, fingerprint=digest)
