"""The default connection: the one that ``connect`` or ``demo`` made last. Here, so that lower rooms can use it."""

from __future__ import annotations

from typing import Any

from ktframe.errors import NotConnectedError


class Current:
    """Holds one ``Context``. Not locked here: the module that sets it has the lock."""

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
