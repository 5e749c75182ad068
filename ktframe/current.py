"""The connection that ``connect`` or ``demo`` made last, for those on lower floors who ask for it by default."""

from __future__ import annotations

from typing import Any

from ktframe.errors import NotConnectedError


class Current:
    """Holds one ``Context``; who changes it sees to the lock."""

    connection: Any = None

    def required(self) -> Any:
        """Return the connection.

        Raises
        ------
        NotConnectedError
            When neither ``connect`` nor ``demo`` was called.
        """
        if self.connection is None:
            raise NotConnectedError
        return self.connection


CURRENT = Current()
