"""Every error that undertow raises on purpose.

    UndertowError
    ├── UserError           exit code 2: the user can fix it; nothing was written
    │   ├── StudyError      the study file or an override
    │   ├── InputError      another file, or a path given on the command line
    │   ├── ResourceError   this machine or cluster is too small for the run
    │   └── StoreError      the store refuses an operation, or could not be reached for a minute
    ├── Stopped             the run was interrupted: nothing failed; the same command resumes it
    └── StepError           exit code 1: a step failed while running; its dependents are blocked
        ├── TooFewRows      fewer accepted rows than the corpus must have
        ├── CanaryFailed    an engine does not serve the model that was trained
        ├── ModelRefused    a base model that trainer and engine would load differently
        ├── LeaseLost       gc removed files while the run was suspended
        └── ArtifactError   a committed artifact is missing, damaged or of another kind

They cross Ray processes, so each must survive pickling: one message argument, no more.
"""

import re

# Control characters, bidirectional marks, and lone surrogates (they stand for undecodable bytes of file names). Line
# breaks and tabs stay.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with its hidden characters escaped (ESC as \\x1b), so that none of them acts on a terminal."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class UndertowError(Exception):
    """Root of the tree. `str(error)` is the whole message: what, where and what to do; safe to print."""

    exit_code = 1

    @property
    def code(self) -> str:
        """The class name in snake case, as in pipeline.core.reasons."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


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


class TooFewRows(StepError):
    pass


class CanaryFailed(StepError):
    pass


class ModelRefused(StepError):
    pass


class LeaseLost(StepError):
    pass


class ArtifactError(StepError):
    pass


class StoreError(UserError):
    pass
