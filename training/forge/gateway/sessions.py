"""The sessions that are open: found by their secret, by their trajectory, and ended once."""

from __future__ import annotations

import asyncio
import time

from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.recorder import Recorder
from training.forge.gateway.session import Session
from training.forge.gateway.settings import GatewaySettings, Limits, Policy
from warehouse.errors import FactoryError

ABANDONED = "abandoned"
CLOSING_SECONDS = 30.0
SWEEP_SECONDS = 30.0


class Sessions:
    """What every gateway does with sessions, whatever answers their requests."""

    recorder: Recorder
    settings: GatewaySettings
    sessions: dict[str, Session]
    """Open ones, by their secret."""
    _by_trajectory: dict[str, Session]

    def open(self, trajectory: str, *, limits: Limits | None = None, policy: Policy | None = None) -> Session:
        """A session for the trajectory. Raises FactoryError where one is open."""
        if trajectory in self._by_trajectory:
            raise FactoryError(f"Trajectory {trajectory!r} has an open session; end that first.")
        session = Session(trajectory, limits or self.settings.limits, policy or self.settings.policy)
        self.sessions[session.secret] = self._by_trajectory[trajectory] = session
        return session

    def of(self, trajectory: str) -> Session:
        """The open session of a trajectory. Raises FactoryError where there is none."""
        session = self._by_trajectory.get(trajectory)
        if session is None:
            raise FactoryError(f"No session of trajectory {trajectory!r} is open.")
        return session

    def find(self, secret: str) -> Session:
        """The session at an address. Raises Fault."""
        session = self.sessions.get(secret)
        if session is None:
            raise Fault(Kind.UNKNOWN_SESSION, "There is no open session at this address.")
        return session

    async def end(self, trajectory: str, reason: str = "") -> Session:
        """Closes a session: what still runs is cut off and kept as partial; then its end is recorded."""
        session = self.of(trajectory)
        if session.ended is None:
            session.ended = reason or (Kind.BUDGET.value if session.spent else "")
        for task in session.running:
            task.cancel()
        if session.running:
            await asyncio.wait(session.running, timeout=CLOSING_SECONDS)
        name, seconds = self.recorder.name, self.settings.deadlines.record
        try:
            async with asyncio.timeout(seconds):
                await self.recorder.ended(trajectory, session.ended)
        except TimeoutError as error:
            raise Fault(
                Kind.NOT_RECORDED, f"The {name} kept no end of a session within {seconds:g} s.", name
            ) from error
        del self.sessions[session.secret], self._by_trajectory[trajectory]
        return session

    async def sweep(self) -> None:
        """Ends sessions that nobody has used for long, again and again."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for session in list(self.sessions.values()):
                if not session.running and now - session.used > self.settings.idle_seconds:
                    await self.end(session.trajectory, ABANDONED)

    async def end_all(self) -> None:
        """Ends every session."""
        for session in list(self.sessions.values()):
            await self.end(session.trajectory, ABANDONED)
