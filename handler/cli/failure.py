"""From an error to one line on stderr and an exit code. A traceback only for who asks for one."""

from __future__ import annotations

import os
import sys
import traceback

import click

from handler.cli.runtime import escaped
from handler.errors import EXIT_FAILED, EXIT_NO_PERMISSION, EXIT_UNAVAILABLE, EXIT_USAGE, HandlerError
from pipeline import errors as pipeline_errors
from pipeline.errors import EngineFailure, ErrorDetail, ModelUnavailable, OptionsError, PipelineError, sentence

INTERRUPTED = 130  # 128 + SIGINT


def report(error: Exception, *, debug: bool) -> int:
    """Say what went wrong; returns the exit code. ``debug``, or DROPSCRIBE_DEBUG=1, shows the traceback too."""
    if debug or os.environ.get("DROPSCRIBE_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    line, code = explained(error)
    print(f"dropscribe: {escaped(' '.join(line.split()))}", file=sys.stderr)
    return code


def explained(error: Exception) -> tuple[str, int]:
    """What happened and what to do, and the exit code."""
    if isinstance(error, HandlerError):
        return sentence(error.message, error.hint), error.exit_code
    if isinstance(error, PipelineError):
        return sentence(error.message, error.hint), _pipeline_code(error)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "dropscribe"
        return sentence(error.format_message(), f"See `{path} --help`."), error.exit_code
    if isinstance(error, click.ClickException):
        return sentence(error.format_message(), ""), error.exit_code
    if isinstance(error, PermissionError):
        return sentence(f"{error.strerror}: {error.filename}", "Check who may read and write it."), EXIT_NO_PERMISSION
    if isinstance(error, OSError):
        return sentence(str(error), ""), EXIT_FAILED
    text = f"an error of ours: {type(error).__name__}: {error}"
    return sentence(text, "Run it again with --debug to see where, and please report it."), EXIT_FAILED


def as_error(detail: ErrorDetail) -> PipelineError:
    """The engine's error, out of the form in which it travelled."""
    found = getattr(pipeline_errors, detail.error_class, EngineFailure)
    kind = found if isinstance(found, type) and issubclass(found, PipelineError) else EngineFailure
    return kind(detail.message, detail.hint)


def _pipeline_code(error: PipelineError) -> int:
    if isinstance(error, ModelUnavailable):
        return EXIT_UNAVAILABLE
    return EXIT_USAGE if isinstance(error, OptionsError) else EXIT_FAILED
