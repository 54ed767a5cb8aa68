"""Settings of the `code` judge."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CodeSettings(BaseModel):
    """How programs are judged, and where they run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tests: str | None = Field(None, description="column with the tests; else tests or test_list")
    setup: str | None = Field(
        None, description="column with code before the tests; else test_setup_code, test_imports"
    )
    timeout: float = Field(10.0, gt=0, le=3600, description="seconds for each program or input")
    memory_mb: int = Field(512, ge=64, description="memory of each process, in MB")
    output_mb: int = Field(8, ge=1, le=1024, description="what a program may print or write, in MB")
    processes: int = Field(8, ge=0, description="further processes and threads of a program")
    packages: tuple[str, ...] = Field(
        ("numpy",), description="of this environment, that programs may import"
    )
    sandbox: Literal["bubblewrap", "nsjail", "docker", "podman", "fusion"] = "bubblewrap"
    url: str | None = Field(None, description="of a SandboxFusion server, for `sandbox: fusion`")
    image: str | None = Field(None, description="of docker or podman; else llm-sandbox's own")
    python: str | None = Field(None, description="Python 3.10 or later to run programs with")
    sessions: int | None = Field(None, ge=1, description="sandboxes at a time; else one each core")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.sandbox == "fusion") != (self.url is not None):
            raise ValueError("`sandbox: fusion` and `url`: give both, or neither")
        return self
