"""What every fake of a service needs."""

import time
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

Context = aio.ServicerContext[Any, Any]


def after(seconds: int) -> Timestamp:
    """So many seconds from now."""
    return Timestamp(seconds=int(time.time()) + seconds)
