"""What can go wrong on the object-storage side.

    HandlerError
    ├── StoreError
    │   ├── NotFound          no such object
    │   ├── Refused           a conditional write's condition did not hold
    │   │   └── Conflict      … because of what is there now (handler.store.swap)
    │   ├── Changed           the object is no longer the version that was asked for
    │   ├── Unavailable       no answer, or one that may have been applied: ambiguous, retryable
    │   ├── AccessDenied      the credentials lack a permission
    │   ├── BadKey            this store cannot hold that key
    │   ├── UnsafeStore       the store ignores conditions: the protocol cannot run on it
    │   └── NewerFormat       a later version's record: not ours to touch
    ├── LeaseLost             somebody else owns the job now; its work must not be committed
    ├── EngineDied            the child process ended or overran its time limit: an attempt
    ├── TooManyTakeovers      a job that took too many workers with it
    ├── TooLarge              over the size limit
    ├── BadBatch              a batch whose lines are wrong: none of it is begun
    ├── CallbackRefused       an address that no callback may go to, now or later
    ├── SettingsError         a setting that cannot be: said before anything starts
    ├── CannotWrite           an output file of a command could not be written
    ├── NotInTime             what was waited for did not happen in the time given
    └── Usage                 a command that cannot be carried out as it was given

Every error carries ``message`` and ``hint``; ``exit_code`` is what the command line ends with (docs/operations.md).
"""

from __future__ import annotations

from pipeline.errors import Explained

EXIT_FAILED = 1  # the job or the command failed
EXIT_USAGE = 2  # the command line or a setting is wrong
EXIT_UNAVAILABLE = 69  # a model or a service is not there; try again later (EX_UNAVAILABLE)
EXIT_CANT_CREATE = 73  # an output could not be written (EX_CANTCREAT)
EXIT_TEMPORARY = 75  # try again (EX_TEMPFAIL)
EXIT_NO_PERMISSION = 77  # the credentials lack a permission (EX_NOPERM)
EXIT_UNSAFE = 78  # the store cannot keep the protocol's promises (EX_CONFIG)


class HandlerError(Explained):
    """Base of the handler's tree. ``exit_code``: what a command ends with."""

    exit_code = EXIT_FAILED


class StoreError(HandlerError):
    code = "STORE_ERROR"


class NotFound(StoreError):
    code = "NOT_FOUND"


class Refused(StoreError):
    code = "CONDITION_REFUSED"


class Changed(StoreError):
    code = "CHANGED"
    retryable = True


class Unavailable(StoreError):
    code = "STORE_UNAVAILABLE"
    retryable = True
    exit_code = EXIT_UNAVAILABLE
    default_hint = "Check the endpoint (AWS_ENDPOINT_URL) and the network, then try again."


class AccessDenied(StoreError):
    code = "ACCESS_DENIED"
    retryable = True
    exit_code = EXIT_NO_PERMISSION
    default_hint = "Give these credentials the permission, or use others (AWS_PROFILE, AWS_ACCESS_KEY_ID)."


class BadKey(StoreError):
    code = "BAD_KEY"
    exit_code = EXIT_USAGE


class UnsafeStore(StoreError):
    code = "UNSAFE_STORE"
    exit_code = EXIT_UNSAFE
    default_hint = "Use a store with conditional PUT (AWS S3, MinIO, Ceph, RustFS, a folder)."


class NewerFormat(StoreError):
    code = "NEWER_FORMAT"
    default_hint = "Bring this worker to the version of the others."


class LeaseLost(HandlerError):
    code = "LEASE_LOST"
    retryable = True


class EngineDied(HandlerError):
    code = "ENGINE_DIED"
    retryable = True
    default_hint = "See the worker's log. A recording that kills the engine each time is worth a bug report."


class TooManyTakeovers(HandlerError):
    code = "WORKERS_LOST"
    retryable = True
    default_hint = "Look at the workers' logs (out of memory?), then run `dropscribe retry`."


class TooLarge(HandlerError):
    code = "Bad Request"
    default_hint = "Split the recording; or raise DROPSCRIBE_MAX_SIZE_BYTES and run `dropscribe retry`."


class BadBatch(HandlerError):
    code = "Bad Request"
    default_hint = "Nothing of it was begun. Mend the file and upload it again; recordings come before the batch."


class CallbackRefused(HandlerError):
    code = "CALLBACK_REFUSED"
    default_hint = "HTTPS to port 443 of public addresses is called; DROPSCRIBE_CALLBACK_ALLOW lets other receivers in."


class SettingsError(HandlerError):
    code = "BAD_SETTING"
    exit_code = EXIT_USAGE


class CannotWrite(HandlerError):
    code = "CANNOT_WRITE"
    exit_code = EXIT_CANT_CREATE


class NotInTime(HandlerError):
    code = "NOT_IN_TIME"
    retryable = True
    exit_code = EXIT_TEMPORARY


class Usage(HandlerError):
    code = "USAGE"
    exit_code = EXIT_USAGE
