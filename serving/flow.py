"""Flow control of HTTP: uvicorn's, with a hold on reading.

uvicorn resumes reading after each response, and whenever the application reads. While
received bytes wait to be parsed, either would let a fast client pile up more of them.
"""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """Flow control that resumes reading for nobody while a hold lasts."""

    _is_held = False

    def hold_reading(self) -> None:
        """Pause reading until `release_reading` is called."""
        self.pause_reading()
        self._is_held = True

    def release_reading(self) -> None:
        """End the hold, and read on."""
        self._is_held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read on, unless there is a hold; called by uvicorn."""
        if not self._is_held:
            super().resume_reading()
