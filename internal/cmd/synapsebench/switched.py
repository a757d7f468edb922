"""The bridge with a switch, for a Synapse that has the same module in its process, too: one of both checks at a time."""

from typing import Any

from check import Switched
from modulebus_synapse import ModuleBus
from synapse.module_api import ModuleApi


class SwitchedBus(ModuleBus):
    """The bridge, which asks nothing while it is switched off."""

    def __init__(self, config: Any, api: ModuleApi):
        super().__init__(config, api)
        switch, ask = Switched(), self.asker.ask

        async def asked(callback: Any, args: Any) -> Any:
            return await ask(callback, args) if switch.on else {}

        setattr(self.asker, "ask", asked)  # noqa: B010 # It is the bridge's own method.
        api.register_web_resource("/_synapse/client/bench/bus", switch)
