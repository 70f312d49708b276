"""botocore's errors in the words of `handler.errors`. Takes an exception and what was asked; gives the error to raise.

Knows nothing of retries: by the time an error comes here, botocore has made those it was allowed to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handler.errors import (
    AccessDenied,
    BadKey,
    NotFound,
    Refused,
    SettingsError,
    StoreError,
    Unavailable,
    UnsafeStore,
)

_THROTTLED = (
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "InternalError",
)
_DAMAGED = (  # what we sent arrived as something else, or in part
    "BadDigest",
    "IncompleteBody",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
)
_BAD_CREDENTIALS = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
_BAD_KEY = ("KeyTooLongError", "InvalidObjectName", "XMinioInvalidObjectName", "InvalidURI")
_NO_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is attached."


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of the server: the IAM ``action`` it needs, the whole ``key`` (or prefix), whether it was
    conditional.
    """

    action: str
    bucket: str
    key: str
    conditional: bool = False
    replacing: bool = False  # with If-Match, to which 404 is an answer

    def __str__(self) -> str:
        return f"{self.action} on s3://{self.bucket}/{self.key}"


def translated(error: Exception, request: Request) -> Exception:
    """The error to raise in place of ``error``; ``error`` itself where it is not about the store (a bug, the local
    disk).
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, boto.ClientError):
        return _answer(error.response, request)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return AccessDenied(f"no AWS credentials for {request}: {error}", _NO_CREDENTIALS)
    if isinstance(error, boto.CredentialRetrievalError | boto.TokenRetrievalError | boto.SSOError):
        return AccessDenied(f"the AWS credentials cannot be read: {error}", _NO_CREDENTIALS)
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError | boto.IncompleteReadError):
        return Unavailable(f"no answer to {request}: {error}")
    if isinstance(error, boto.FlexibleChecksumError):
        return Unavailable(f"the answer to {request} arrived damaged: {error}")
    if isinstance(error, ResponseParserError):
        return Unavailable(f"the answer to {request} is not S3's: {error}", "Check AWS_ENDPOINT_URL.")
    if isinstance(error, boto.BotoCoreError):
        return StoreError(f"{request} cannot be asked for: {error}", "Check the bucket's name and the AWS_* variables.")
    return error


def misconfigured(error: Exception) -> Exception:
    """As `translated`, for an error of making the client: a profile, an endpoint or a setting that cannot be."""
    from botocore import exceptions as boto

    if isinstance(error, boto.BotoCoreError | ValueError):
        return SettingsError(f"no S3 client can be made: {error}", "Check the AWS_* variables and ~/.aws/config.")
    return error


def _answer(response: dict[str, Any], request: Request) -> StoreError:
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(response.get("Error", {}).get("Code", ""))
    said = f"{status} {code}: {response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if code == "NoSuchBucket":
        # Not `NotFound`: an absent bucket must not pass for an absent object.
        return StoreError(f"there is no bucket {request.bucket}", "Create it, or check its name and AWS_ENDPOINT_URL.")
    if code in _BAD_CREDENTIALS or status == 401:
        return AccessDenied(f"the store does not accept these credentials ({said})", _NO_CREDENTIALS)
    if code == "RequestTimeTooSkewed":
        return AccessDenied(f"this machine's clock is too far off for the store ({said})", "Set the clock (NTP).")
    if status == 403:
        return AccessDenied(f"not allowed: {request}", _denied_hint(request))
    if code in _BAD_KEY:
        return BadKey(f"the store cannot hold {request.key} ({said})", "Use another key.")
    if status == 501:
        return _not_implemented(request, said)
    if status == 429 or status >= 500 or code in _THROTTLED:
        return Unavailable(f"the store could not answer {request} ({said})")
    if code in _DAMAGED:
        return Unavailable(f"{request} reached the store damaged ({said})")
    return _condition(status, said, request)


def _condition(status: int, said: str, request: Request) -> StoreError:
    if status == 412 or (request.conditional and status == 409) or (request.replacing and status == 404):
        return Refused(f"the condition of {request} does not hold ({said})")
    if status == 404 and request.action == "s3:GetObject":
        return NotFound(f"no object s3://{request.bucket}/{request.key}")
    if status == 409:
        return Unavailable(f"{request} met another one ({said})")
    if status in (301, 307, 400) and ("Redirect" in said or "AuthorizationHeaderMalformed" in said):
        return StoreError(f"the bucket {request.bucket} is in another region ({said})", "Set AWS_REGION to its region.")
    return StoreError(
        f"the store does not carry out {request} ({said})", "Check AWS_ENDPOINT_URL and the bucket's name."
    )


def _not_implemented(request: Request, said: str) -> StoreError:
    if request.conditional:
        return UnsafeStore(f"the store does not know conditional writes: {request} ({said})")
    return StoreError(f"the store does not know {request} ({said})", "Use a store that has the S3 object operations.")


def _denied_hint(request: Request) -> str:
    hint = f"Give these credentials the permission {request.action}, or use others (AWS_PROFILE, AWS_ACCESS_KEY_ID)."
    if request.action == "s3:GetObject":
        hint += " Without s3:ListBucket, S3 says this of missing keys, too."
    return hint
