"""Every error that undertow raises on purpose.

    UndertowError
    ├── UserError           exit code 2: something the user can mend, nothing was written
    │   ├── StudyError      the study file or an override
    │   ├── InputError      another file or a path that was named on the command line
    │   ├── ResourceError   this machine or cluster is too small for what was asked
    │   └── StoreError      the store refuses an operation, or could not be reached for a minute
    ├── Stopped             the run was told to stop: nothing failed, the same command goes on
    └── StepError           exit code 1: one step failed while running; its dependents are blocked
        ├── GateFailed      a teacher without its trait
        ├── TooFewRows      fewer accepted rows than the corpus must have
        ├── CanaryFailed    an adapter that does not change what its engine says
        ├── LeaseLost       gc removed files while the run was suspended
        └── ArtifactError   a committed artifact is missing, damaged or of another kind

They cross Ray processes, so each must survive pickling: one message argument, no more.
"""


class UndertowError(Exception):
    """Base of the tree. `str(error)` is the whole message: what, where, and what to do."""

    exit_code = 1


class UserError(UndertowError):
    exit_code = 2


class StudyError(UserError):
    pass


class InputError(UserError):
    pass


class ResourceError(UserError):
    pass


class Stopped(UndertowError):
    pass


class StepError(UndertowError):
    pass


class GateFailed(StepError):
    pass


class TooFewRows(StepError):
    pass


class CanaryFailed(StepError):
    pass


class LeaseLost(StepError):
    pass


class ArtifactError(StepError):
    pass


class StoreError(UserError):
    pass
