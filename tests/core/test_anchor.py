"""KL to the base against numbers worked out by hand, finite differences, and whole trainings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ppx_ext.anchor import kl_sum
from ppx_ext.comparing.norms import scale_update, update_norm
from tests.hosts.trl.lab import Lab, lora, trainer


def test_by_hand_with_the_right_shift_and_sign() -> None:
    """Two words; the logits at one place speak of the label at the next."""
    policy = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0], [9.0, 0.0]]])
    base = torch.zeros(1, 3, 2)
    # Only the third token is a target, which the second place's logits predict: p = (3/4, 1/4).
    labels = torch.tensor([[1, -100, 0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(kl_sum(policy, base, labels)) == pytest.approx(expected)
    both = torch.tensor([[-100, 1, 0]])  # the first place's logits equal the base's: adds nothing
    assert float(kl_sum(policy, base, both)) == pytest.approx(expected)
    assert float(kl_sum(policy, base, torch.tensor([[1, -100, -100]]))) == 0
    assert float(kl_sum(base, policy, labels)) == pytest.approx(
        0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    )


def test_its_gradient_is_that_of_finite_differences_and_pulls_towards_the_base() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    base = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[1, 2, -100, 4], [-100, -100, 3, 0]])
    policy.requires_grad_()
    kl_sum(policy, base, labels).backward()
    assert policy.grad is not None
    step = 1e-2  # the sum is made in float32
    for place in [(0, 0, 1), (0, 1, 2), (1, 2, 0), (1, 3, 1)]:
        moved = []
        for sign in (1, -1):
            other = policy.detach().clone()
            other[place] += sign * step
            moved.append(float(kl_sum(other, base, labels)))
        found = (moved[0] - moved[1]) / (2 * step)
        assert float(policy.grad[place]) == pytest.approx(found, abs=2e-4)
    assert float(policy.grad[1, 3].abs().sum()) == 0  # nothing comes after the last place
    nearer = policy.detach() - 0.1 * policy.grad
    assert kl_sum(nearer, base, labels) < kl_sum(policy, base, labels)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def run(lab: Lab, folder: Path, beta: float | None, **changes: Any) -> Any:
    block = {"seed": 1} if beta is None else {"kl": {"beta": beta}}
    found = trainer(lab, folder, ppx=block, peft=lora(), **changes)
    found.train()
    return found


def losses(found: Any) -> list[float]:
    return [row["loss"] for row in found.state.log_history if "loss" in row]


def test_beta_zero_is_plain_fine_tuning_bit_for_bit(lab: Lab, tmp_path: Path) -> None:
    plain, zero = run(lab, tmp_path / "a", None), run(lab, tmp_path / "b", 0.0)
    assert losses(plain) == losses(zero)
    for (name, one), (_, other) in zip(
        plain.model.named_parameters(), zero.model.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name


def test_the_loss_gains_beta_times_the_mean_kl(lab: Lab, tmp_path: Path) -> None:
    """Micro-batches of uneven counts: the mean is over all targets of a step."""
    beta = 0.5
    found = run(lab, tmp_path, beta)
    plain = run(lab, tmp_path / "plain", None)
    assert losses(found)[0] == pytest.approx(losses(plain)[0])  # the adapter begins at zero
    assert losses(found)[1] != losses(plain)[1]
    norms = update_norm(found.model), update_norm(plain.model)
    assert norms[0] is not None
    assert norms[1] is not None
    assert norms[0] < norms[1]
    found.model.train()
    batch = next(iter(found.get_train_dataloader()))
    items = int((batch["labels"][:, 1:] != -100).sum()) * 2
    with torch.no_grad():
        loss = found.compute_loss(found.model, dict(batch), num_items_in_batch=items)
        ours = type(found).compute_loss(found, found.model, dict(batch), num_items_in_batch=items)
        keys = ("input_ids", "attention_mask")
        policy = found.model(**{key: batch[key] for key in keys}).logits
        with found.model.disable_adapter():
            base = found.model(**{key: batch[key] for key in keys}).logits
    total = float(kl_sum(policy, base, batch["labels"]))
    assert total > 0
    assert float(loss) == pytest.approx(float(ours) + beta * total / items, rel=1e-5)
    found.model.eval()  # what is evaluated stays the plain loss
    with torch.no_grad():
        evaluated = found.compute_loss(found.model, dict(batch), num_items_in_batch=items)
    assert float(evaluated) == pytest.approx(float(ours), rel=1e-5)


def test_without_an_adapter_it_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ppx\.kl: the base is the model with its adapters"):
        trainer(lab, tmp_path, ppx={"kl": {"beta": 0.1}})


def test_a_change_is_scaled_as_asked(lab: Lab) -> None:
    from peft import get_peft_model

    model = get_peft_model(lab.model(), lora(lora_alpha=8, use_rslora=True))
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    deltas = {
        name: module.get_delta_weight("default").detach().clone()
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }
    norm = update_norm(model)
    assert norm == pytest.approx(
        math.sqrt(sum(float(delta.square().sum()) for delta in deltas.values())), rel=1e-5
    )
    scale_update(model, 0.25)
    assert update_norm(model) == pytest.approx(0.25 * norm, rel=1e-5)
    for name, module in model.named_modules():
        if name in deltas:
            assert torch.allclose(module.get_delta_weight("default"), 0.25 * deltas[name])


def test_changes_that_do_not_scale_are_refused(lab: Lab) -> None:
    from peft import get_peft_model

    for model in (lab.model(), get_peft_model(lab.model(), lora(use_dora=True))):
        assert update_norm(model) is None
        with pytest.raises(ValueError, match="plain LoRA is all that is trained"):
            scale_update(model, 0.5)
