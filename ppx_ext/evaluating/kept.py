"""The trained weights of the best evaluation, kept on disk until the run ends with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ppx_ext.evaluating.processes import Team

# Hosts that upload a run leave out what begins with an underscore.
FOLDER = "_ppx_best"


class KeptWeights:
    """Every parameter that is trained, in one safetensors file that is replaced whole.

    A LoRA adapter takes little room; with full fine-tuning the file is as large as the model.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / "weights.safetensors"

    def save(self, model: Any, step: int) -> None:
        """Keep the weights as they are now, in place of those that were kept."""
        from safetensors.torch import save_file

        tensors = {name: each.detach().contiguous() for name, each in trained(model).items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        try:
            save_file(tensors, str(temporary), metadata={"format": "pt", "step": str(step)})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def step(self) -> int | None:
        """The step at which the kept weights were measured; None where none are kept."""
        if not self.path.is_file():
            return None
        from safetensors import safe_open

        with safe_open(str(self.path), framework="pt") as file:
            return int(file.metadata()["step"])

    def clear(self) -> None:
        """Forget what was kept."""
        self.path.unlink(missing_ok=True)

    def restore(self, model: Any, team: Team) -> None:
        """Put the kept weights back in place, in every process; the first one reads them.

        Raises:
            ValueError: the model trains other weights than were kept.
        """
        import torch

        parameters = trained(model)
        with torch.no_grad():
            team.alone(lambda: self._read(parameters))
            if team.size > 1:
                for parameter in parameters.values():
                    torch.distributed.broadcast(parameter.data, src=0)

    def _read(self, parameters: dict[str, Any]) -> None:
        from safetensors import safe_open

        with safe_open(str(self.path), framework="pt") as file:
            if odd := sorted(set(file.keys()) ^ parameters.keys()):
                raise ValueError(f"{self.path} keeps other weights than are trained: {odd[:3]}")
            for name, parameter in parameters.items():
                parameter.copy_(file.get_tensor(name))


def trained(model: Any) -> dict[str, Any]:
    """The parameters that training changes, by name; one that is tied has one name."""
    return {name: each for name, each in model.named_parameters() if each.requires_grad}
