"""Controllers that do as a test says, for tests of the manager and the loop."""

from __future__ import annotations

import numpy as np

from mbrl_node.control import Controller, Observation

SECOND = 10**9


class Scripted(Controller):
    """Asks for `value` until told otherwise; fails and waits when told to; counts what it sees."""

    def __init__(self, name, value=0.0, learned=False):
        super().__init__(name)
        self.learned, self.value = learned, value
        self.waits = ""  # why it is not ready
        self.error = self.activation_error = self.commanded_error = None  # to be raised
        self.on_update = self.on_activate = lambda: None
        self.calls: list[str] = []
        self.sent: list[float] = []
        self.observations: list[Observation] = []

    @property
    def not_ready(self):
        return self.waits

    @property
    def activated(self):
        return self.calls.count("activate")

    def activate(self):
        self.calls.append("activate")
        self.on_activate()
        if self.activation_error:
            raise self.activation_error

    def deactivate(self):
        self.calls.append("deactivate")

    def close(self):
        self.calls.append("close")

    def update(self, observation, last_action):
        self.calls.append("update")
        self.observations.append(observation)
        self.on_update()
        if self.error:
            raise self.error
        return self.value if self.value is None else np.atleast_1d(np.array(self.value, float))

    def commanded(self, observation, action):
        if self.commanded_error:
            raise self.commanded_error
        self.sent.append(float(action[0]))
