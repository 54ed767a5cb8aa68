"""Answers of a causal LM in this process, in batches. Importing this module imports no torch.

Each token is drawn by a number that hangs on the request alone (`drawing`), so that a response is
the same whatever batch it is in and whenever it is asked for: in float32, but for ties within its
rounding; in a narrower dtype the size of a batch can turn a token.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ppx_ext.answering import Ask, Failure, LentModel, Request, Response
from ppx_ext.generation.batches import Wanted, batches, encode, groups, spoken
from ppx_ext.generation.continuous import continuous
from ppx_ext.generation.continuous import problem as continuous_problem

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

Batching: TypeAlias = Literal["auto", "padded", "continuous"]
Answered: TypeAlias = list[tuple[Wanted, "Response | Failure"]]
TRIED_BATCHES = 4
BATCH_SIZE = 32

log = logging.getLogger(__name__)


@contextlib.contextmanager
def answer_in_process(
    model: LentModel,
    *,
    batch_size: int = BATCH_SIZE,
    batching: Batching = "auto",
    share_prefixes: bool = True,
) -> Iterator[Ask]:
    """Lend the model's base (its adapters off, if there are any) as an engine.

    Args:
        model: loaded here.
        batch_size: responses that are generated at one time.
        batching: ``padded`` fills batches of like length up on the left. ``continuous`` lets
            transformers' continuous batching give the place of a finished response away at once:
            for greedy decoding without stop texts; all else stays padded, where each request draws
            by its own number. ``auto`` tries both on the first greedy requests, if there are
            enough, and goes on with the faster one.
        share_prefixes: compute the prompt of several samples once.

    Raises:
        ValueError: no tokenizer, adapters that cannot be switched off, or a model that continuous
            batching would give other answers of.
    """
    if model.tokenizer is None:
        raise ValueError(
            f"{model.name!r} has no tokenizer to answer with in this process; give one, or ask a "
            "server: `generator: {use: openai, base_url: ...}`"
        )
    engine = Local(
        model=model.load(),
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        batching=batching,
        share_prefixes=share_prefixes,
    )
    with engine.lent():
        pass  # adapters that cannot be switched off are refused before any work
    unfit = continuous_problem(engine.model)
    if unfit and batching == "continuous":
        raise ValueError(f"{model.name!r}: {unfit}")
    if unfit:
        engine.batching = "padded"
    yield engine.answer


def named_model(
    name: str,
    *,
    tokenizer: Tokenizer | None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: str = "auto",
) -> LentModel:
    """A model that is loaded by its name, for an engine that makes copies of its own."""

    def load() -> Any:
        from ppx_ext.scoring import load_causal_lm

        return load_causal_lm(
            name, revision=revision, dtype=dtype, trust_remote_code=trust_remote_code
        )

    return LentModel(
        name=name,
        load=load,
        tokenizer=tokenizer,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )


@dataclass(kw_only=True)
class Local:
    """A causal LM that answers in batches. It is left as it was found after each of them.

    Attributes:
        model: as loaded.
        tokenizer: with the run's chat template.
        batch_size, batching, share_prefixes: see `answer_in_process`.
        base: switch adapters off; else they are as they are.
    """

    model: Any
    tokenizer: Tokenizer
    batch_size: int = BATCH_SIZE
    batching: Batching = "auto"
    share_prefixes: bool = True
    base: bool = True

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response | Failure]]:
        """Each request's place and answer, as soon as its batch is done; see `answering.Ask`."""
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        wanted, refused = encode(requests, self.tokenizer, context)
        yield from refused
        for one, answer in self.answer_wanted(wanted):
            yield from ((place, answer) for place in one.places)

    def answer_wanted(
        self, wanted: Iterable[Wanted]
    ) -> Iterator[tuple[Wanted, Response | Failure]]:
        """As `answer`, for what is encoded already."""
        for group in groups(wanted):
            plain = group[0].seed is None and not group[0].decoding.stop
            if plain and self.batching == "auto":
                tried = 2 * TRIED_BATCHES * self.batch_size
                if len(group) > tried:
                    yield from self._try_both(group[:tried])
                    group = group[tried:]
            if plain and self.batching == "continuous":
                for batch in batches(group, TRIED_BATCHES * self.batch_size):
                    yield from self._continuous(batch)
            else:
                for batch in batches(group, self.batch_size):
                    yield from self._padded(batch)

    def _try_both(self, group: list[Wanted]) -> Iterator[tuple[Wanted, Response | Failure]]:
        """Answer half of the requests either way, and note the faster one."""
        halves = (group[0::2], group[1::2])
        answered, padded = _timed(lambda: self._all_padded(halves[0]))
        yield from answered
        try:
            answered, continuous = _timed(lambda: self._continuous(halves[1]))
        except Exception as error:  # whatever a model without it raises
            log.info("continuous batching is not for this model (%s)", error)
            answered, continuous = [(one, Failure(reason=str(error))) for one in halves[1]], 0.0
        if any(isinstance(answer, Failure) for _, answer in answered):
            self.batching = "padded"
            yield from self._all_padded(halves[1])
            return
        yield from answered
        self.batching = "continuous" if continuous < padded else "padded"
        log.info(
            "continuous batching takes %.2f of the time of padded batches; going on %s",
            continuous / padded,
            self.batching,
        )

    def _all_padded(self, group: list[Wanted]) -> Answered:
        return [one for batch in batches(group, self.batch_size) for one in self._padded(batch)]

    def _continuous(self, group: list[Wanted]) -> Answered:
        config = self._config(group[0])
        with self.lent() as model:
            found = continuous(model, config, group, self.batch_size)
        return [
            (one, new if isinstance(new, Failure) else self._response(one, new, config))
            for one, new in zip(group, found, strict=True)
        ]

    def _padded(self, batch: list[Wanted]) -> Answered:
        from ppx_ext.generation.sharing import left_padded, shared_cache

        config = self._config(batch[0])
        rows = [one.ids for one in batch]
        with self.lent() as model:
            ids_BT, mask_BT = left_padded(rows, config.pad_token_id, _device(model))
            steered = self._steered(batch, ids_BT)
            if (
                self.share_prefixes
                and self.base
                and config.cache_implementation in (None, "hybrid")
            ):
                cache = shared_cache(model, rows, config.pad_token_id)
                steered |= {} if cache is None else {"past_key_values": cache}
            output_BT = model.generate(
                input_ids=ids_BT, attention_mask=mask_BT, generation_config=config, **steered
            )
        new = output_BT[:, ids_BT.shape[1] :].tolist()
        return [
            (one, self._response(one, ids, config)) for one, ids in zip(batch, new, strict=True)
        ]

    def _steered(self, batch: list[Wanted], ids_BT: torch.Tensor) -> dict[str, Any]:
        """What draws the tokens of a batch, and what stops it."""
        import numpy as np
        import torch

        from ppx_ext.generation.drawing import StopAt, drawing, draws

        first, found = batch[0], dict[str, Any]()
        if first.decoding.stop:
            found["stopping_criteria"] = [
                StopAt(self.tokenizer, first.decoding.stop, ids_BT.shape[1])
            ]
        if first.seed is not None:
            own = [draws(one.ids, one.seed or 0, one.limit) for one in batch]
            draws_BS = torch.from_numpy(np.stack(own)).to(ids_BT.device)
            found["logits_processor"] = drawing(first.decoding, draws_BS)
        return found

    def _response(self, one: Wanted, new: list[int], config: Any) -> Response:
        from ppx_ext.generation.drawing import cut

        ends = set(config.eos_token_id)
        ended = next((place for place, token in enumerate(new) if token in ends), None)
        new = new[: one.limit if ended is None else ended + 1]
        text, stopped = cut(spoken(self.tokenizer, one, new), one.decoding.stop)
        while stopped and ended is None and new[-1] == config.pad_token_id:
            new.pop()  # a row that waited for the others of its batch
        finished = stopped or ended is not None
        return Response(text=one.prefix + text, finished=finished, tokens=len(new))

    def _config(self, one: Wanted) -> Any:
        """The model's own generation config, made greedy, that stops where a chat's turn ends."""
        from ppx_ext.tokens import end_of_turn_ids

        config = copy.deepcopy(self.model.generation_config)
        known = config.eos_token_id
        stops = end_of_turn_ids(self.tokenizer) | set(known if isinstance(known, list) else [known])
        config.eos_token_id = sorted(stop for stop in stops if stop is not None)
        pad = self.tokenizer.pad_token_id
        config.pad_token_id = next(iter(config.eos_token_id), 0) if pad is None else pad
        config.update(max_new_tokens=one.limit, **_GREEDY)
        return config

    @contextlib.contextmanager
    def lent(self) -> Iterator[Any]:
        """The model in evaluation mode, as its base or as it is; afterwards all is as it was."""
        import torch

        from ppx_ext.scoring.models import base_of, quiet

        with contextlib.ExitStack() as stack:
            model = stack.enter_context(base_of(self.model)) if self.base else self.model
            if not self.base:
                stack.enter_context(quiet(model))
            device = _device(model)
            devices = [device] if device.type == "cuda" else []
            stack.enter_context(torch.random.fork_rng(devices=devices))
            yield model


# How a token is taken is ours (`drawing`), whatever a model's own generation config says; and a
# penalty on what the padding repeats would make a response hang on its batch.
_GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "min_p": None,
    "typical_p": None,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "max_length": None,
    "return_dict_in_generate": False,
    "use_cache": True,
}


def _timed(answer: Callable[[], Answered]) -> tuple[Answered, float]:
    """Answers, and the seconds that each of their tokens took."""
    began = time.perf_counter()
    answered = answer()
    seconds = time.perf_counter() - began
    tokens = sum(found.tokens or 0 for _, found in answered if isinstance(found, Response))
    return answered, seconds / max(tokens, 1)


def _device(model: Any) -> torch.device:
    return model.get_input_embeddings().weight.device  # type: ignore[no-any-return]
