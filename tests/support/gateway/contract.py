"""Types and times that fakes of services share."""

import time
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

Context = aio.ServicerContext[Any, Any]


def after(seconds: int) -> Timestamp:
    """Return the time in this number of seconds."""
    return Timestamp(seconds=int(time.time()) + seconds)
