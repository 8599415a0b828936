"""The life of an execution environment, as one table of data. A call without a row is refused, with 403."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where an execution environment stands."""

    STARTING = auto()  # the runtime has not polled yet
    SNAPSHOT = auto()  # SnapStart: the snapshot may be taken, the runtime waits for the restore
    RESTORED = auto()  # restored from the snapshot; the runtime has not polled yet
    IDLE = auto()  # a poll is open
    INVOKED = auto()  # an event has been handed out, nothing has come back
    RESPONDING = auto()  # the body of an answer is being read
    RESPONDED = auto()  # answered; background work may go on until the next poll
    FAILED = auto()  # init error, exit, or a breach of protocol: never used again


class Call(Enum):
    """What moves it: six calls of the runtime, four turns of the platform."""

    NEXT = auto()
    RESPONSE = auto()
    ERROR = auto()
    INIT_ERROR = auto()
    RESTORE_NEXT = auto()
    RESTORE_ERROR = auto()
    RESTORE = auto()
    INVOKE = auto()
    END = auto()
    FAIL = auto()


TRANSITIONS: dict[tuple[State, Call], State] = {
    (State.STARTING, Call.NEXT): State.IDLE,
    (State.STARTING, Call.INIT_ERROR): State.STARTING,
    (State.STARTING, Call.RESTORE_NEXT): State.SNAPSHOT,
    (State.SNAPSHOT, Call.RESTORE): State.RESTORED,
    (State.RESTORED, Call.RESTORE_ERROR): State.RESTORED,
    (State.RESTORED, Call.NEXT): State.IDLE,
    (State.IDLE, Call.NEXT): State.IDLE,
    (State.IDLE, Call.INVOKE): State.INVOKED,
    (State.INVOKED, Call.NEXT): State.INVOKED,
    (State.INVOKED, Call.RESPONSE): State.RESPONDING,
    (State.INVOKED, Call.ERROR): State.RESPONDING,
    (State.RESPONDING, Call.END): State.RESPONDED,
    (State.RESPONDED, Call.NEXT): State.IDLE,
    **{(state, Call.FAIL): State.FAILED for state in State if state is not State.RESPONDING},
}
