"""Sessions of other workers: their requests may arrive at any worker.

A session's id names its worker. A poll or a post that arrives at another worker is
relayed to it (`remote_session` here, `reception` there). A WebSocket takes its session
along (`remote_probe`), so that everything is local again.
"""

from .claims import Claims
from .reception import Reception
from .remote_session import RemoteSession

__all__ = ["Claims", "Reception", "RemoteSession"]
