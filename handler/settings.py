"""Every setting of a worker: one frozen object, built once in the entry point from ``DROPSCRIBE_*`` variables.

AWS's own names (AWS_ENDPOINT_URL, AWS_PROFILE, …) are boto3's business and are not repeated here.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from handler.errors import SettingsError
from pipeline.cage.wish import Files, Network
from pipeline.companions import AUTO, checked
from pipeline.devices import THRESHOLD, ComputeType, Device

SECRETS = ("listen_token", "callback_secret")  # each may be given by a file: NAME_FILE
_MOST_SECRET = 64 * 1024  # bytes

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Fields are documented in docs/operations.md's table, which is generated from the descriptions here."""

    model_config = SettingsConfigDict(
        env_prefix="DROPSCRIBE_",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # a traceback would tell every setting, secrets included
    )

    # where things lie in the bucket
    input_prefix: str = Field("input/", description="where recordings are dropped")
    results_prefix: str = Field("results/", description="where results are written")
    progress_prefix: str = Field("progress/", description="where progress manifests are written")
    errors_prefix: str = Field("errors/", description="where errors are written")
    state_prefix: str = Field(".dropscribe/v1/", description="where the worker keeps its own records")

    # the lease
    lease_seconds: Seconds = Field(90, description="a job whose lease was not renewed for so long may be taken over")
    beat_seconds: Seconds = Field(30, description="how often a lease is renewed; at most a third of the lease")
    max_attempts: int = Field(3, ge=1, description="failures of the engine before a job is dead")
    max_takeovers: int = Field(10, ge=1, description="lost leases before a job is dead")
    backoff_seconds: Seconds = Field(5, description="wait after the first failure; doubles with each, with jitter")

    # the watch
    scan_seconds: Seconds | None = Field(None, description="pause between scans; default 0.5 on a folder, 2 on S3")
    scan_idle_seconds: Seconds | None = Field(
        None,
        description="longest pause between scans of an idle S3 bucket; default 30 where listings are billed, else 15",
    )
    scan_page_seconds: float | None = Field(
        None, ge=0, description="least pause for each 1,000 keys that a scan listed; default 0.5 where that is billed"
    )
    reconcile_seconds: Seconds = Field(300, description="pause between scans where a queue or webhook tells of inputs")
    drain_seconds: float = Field(20.0, ge=1, le=20, description="a drained queue is empty when silent for so long")
    listen_token: SecretStr | None = Field(None, description="what posts to `dropscribe listen` must carry")
    listen_token_file: Path | None = Field(None, description="a file with that token, in place of it")
    settle_seconds: float = Field(1.0, ge=0, description="a file in a folder is ready when unchanged for so long")

    # what is kept
    cache_ttl_seconds: Seconds | None = Field(None, description="how long an unused artifact is kept; at least a day")
    cache_bytes: int | None = Field(None, ge=0, description="how much the cache may hold, but for the last day's")
    results_ttl_seconds: Seconds | None = Field(None, description="how long results are kept; at least a day")
    sweep_seconds: Seconds | None = Field(None, description="how often an idle worker of all removes what is past that")

    # limits
    max_size_bytes: int = Field(8 * 2**30, ge=1, description="largest recording")
    max_duration_seconds: Seconds = Field(24 * 3600, description="longest recording")
    time_limit_seconds: Seconds = Field(600, description="time limit of an attempt, before the recording's share")
    time_limit_factor: float = Field(10, ge=0, description="added to the time limit for each second of the recording")

    # callbacks
    callback_secret: SecretStr | None = Field(None, description="what callbacks are signed with: whsec_ and base64")
    callback_secret_file: Path | None = Field(None, description="a file with that, in place of it")
    callback_retries: int = Field(10, ge=0, description="further tries of a callback that was not accepted")
    callback_seconds: Seconds = Field(30, description="pause between them")
    callback_timeout_seconds: float = Field(20, gt=0, le=300, description="time limit of a try, redirects included")
    callback_allow: str | None = Field(None, description="receivers beyond public HTTPS: hosts, *.suffixes, networks")

    # the end
    stop_seconds: float = Field(20.0, ge=0, description="a stage that is over in so long may end when told to stop")

    # the engine
    model: str = Field("auto", description="model for jobs that name none: auto, sphinx, or a Whisper model's name")
    models: str | None = Field(None, description="where models come from: a folder, s3://bucket/prefix, or hub")
    separator: str = Field(AUTO, description="what takes voices out of music: auto, none, or a model's name")
    aligner: str = Field(AUTO, description="what gives words their times: auto, none, or names of models")
    diarizer: str = Field(AUTO, description="what tells speakers apart: auto, none, or names of models")
    device: Device = Field("auto", description="where models compute; auto: on a free GPU")
    compute_type: ComputeType | None = Field(None, description="of CTranslate2; default: the best on the device")
    gpu_memory_threshold: float = Field(THRESHOLD, gt=0, le=1, description="a GPU is free while others hold less of it")
    engine_memory_bytes: int | None = Field(None, ge=1, description="memory over which the engine is started afresh")
    engine_network: Network = Field("none", description="host: the engine may open connections, none: it cannot")
    engine_files: Files = Field("own", description="host: it may read what this user can; own: what it needs")
    engine_data_bytes: int | None = Field(
        None, ge=2**30, description="memory it may ask for; default: the machine's, any with a GPU"
    )
    fetch_ahead: bool = Field(True, description="fetch the next recording while a longer job is under way")
    home: Path = Field(Path("~/.cache/dropscribe"), description="where fetched models are kept")
    work_dir: Path = Field(
        Path(tempfile.gettempdir()) / f"dropscribe-{os.getuid()}",
        description="scratch space, which other users cannot read; a subfolder per worker",
    )

    # being watched
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="a worker's log: json, text, or auto: text on a terminal"
    )
    http_port: int | None = Field(None, ge=0, le=65_535, description="where /livez, /readyz and /metrics are served")
    http_host: str = Field("127.0.0.1", min_length=1, description="the address that this port is opened on")

    # writing
    fsync: bool = Field(False, description="flush every write of a folder store to the disk")
    progress_seconds: Seconds = Field(2.0, description="least time between two writes of a progress manifest")
    inline_bytes: int = Field(256 * 1024, ge=0, description="artifacts up to this size lie inside their reference")
    poll_seconds: Seconds = Field(0.2, description="how often a running job looks for a lost lease or a stop signal")

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, given: Any) -> Any:
        """What a file holds takes the place of the setting, which must then not be given as well."""
        filled = dict(given)
        for name in SECRETS:
            path = filled.get(f"{name}_file")
            if path is None:
                continue
            variable = f"DROPSCRIBE_{name.upper()}"
            if filled.get(name) is not None:
                raise ValueError(f"{variable} and {variable}_FILE are both set: which one is meant?")
            filled[name] = _secret_in(Path(path).expanduser(), f"{variable}_FILE")
        return filled

    @field_validator("input_prefix", "results_prefix", "progress_prefix", "errors_prefix", "state_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if not value.endswith("/") or value.startswith("/") or "//" in value or ".." in value.split("/"):
            raise ValueError("a prefix ends with one slash and does not begin with one, for example input/")
        return value

    @field_validator("separator", "aligner", "diarizer")
    @classmethod
    def _models(cls, value: str) -> str:
        return checked(value)

    @field_validator("home", "work_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    def time_limit(self, duration: float | None) -> float:
        """Seconds that an attempt may take, from the recording's length in seconds; unknown counts as the longest."""
        longest = self.max_duration_seconds
        return self.time_limit_seconds + self.time_limit_factor * min(
            longest if duration is None else duration, longest
        )

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.beat_seconds * 3 > self.lease_seconds:
            raise ValueError("DROPSCRIBE_BEAT_SECONDS must be at most a third of DROPSCRIBE_LEASE_SECONDS")
        names = ("input_prefix", "results_prefix", "progress_prefix", "errors_prefix", "state_prefix")
        for outer, inner in itertools.permutations(names, 2):
            if _mixed(getattr(self, outer), getattr(self, inner), input_among="input_prefix" in (outer, inner)):
                raise ValueError(
                    f"DROPSCRIBE_{inner.upper()} ({getattr(self, inner)}) must not lie in DROPSCRIBE_{outer.upper()} "
                    f"({getattr(self, outer)}): what is written to one would be taken for what belongs to the other"
                )
        return self


def _secret_in(path: Path, variable: str) -> str:
    """The file's text without the line end that editors put there. ValueError that names the variable, not the text."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_SECRET + 1)
        secret = text.decode("utf-8").strip()
    except OSError as error:
        raise ValueError(f"{variable}: {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{variable}: {path} holds no text") from None
    if not secret or len(text) > _MOST_SECRET:
        raise ValueError(f"{variable}: {path} holds no secret: it is {'empty' if not secret else 'too large'}")
    return secret


def _mixed(outer: str, inner: str, *, input_among: bool) -> bool:
    """Whether ``inner`` lies in ``outer`` where keys of one can be keys of the other. Of two outputs ``inner`` may be
    a dot folder in ``outer``: no recording has a key with one in it.
    """
    if not inner.startswith(outer):
        return False
    return input_among or inner == outer or not inner.removeprefix(outer).startswith(".")


def load_settings(**overrides: object) -> Settings:
    """The settings from the environment; ``overrides`` (command-line options that were given) win. `SettingsError`."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "DROPSCRIBE_" + "_".join(str(part) for part in first["loc"]).upper() if first["loc"] else "settings"
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from error
