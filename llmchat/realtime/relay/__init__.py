"""Sessions of other workers: their requests may come to any.

A session's id names its worker. A poll or a post that comes to another one is relayed
to that (`remote_session` here, `reception` there). A WebSocket takes its session along
(`remote_probe`), so that all is local again.
"""

from .claims import Claims
from .reception import Reception
from .remote_session import RemoteSession

__all__ = ["Claims", "Reception", "RemoteSession"]
