"""What an older Synapse has elsewhere than in its ModuleApi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from synapse.metrics import background_process_metrics
from synapse.module_api import ModuleApi

_ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "is_mine": lambda hs: hs.is_mine_id,
    "server_name": lambda hs: hs.hostname,
    "sleep": lambda hs: hs.get_clock().sleep,
    "worker_app": lambda hs: hs.config.worker.worker_app,
    "run_as_background_process": lambda _: background_process_metrics.run_as_background_process,
}


class _Completed:
    """A ModuleApi with all that the bridge uses, whatever the version."""

    def __init__(self, api: ModuleApi):
        self._api = api

    def __getattr__(self, name: str) -> Any:
        elsewhere = _ELSEWHERE.get(name)
        if elsewhere is None or hasattr(self._api, name):
            return getattr(self._api, name)
        return elsewhere(self._api._hs)


def completed(api: ModuleApi) -> ModuleApi:
    """The same, with what this Synapse has elsewhere."""
    return cast(ModuleApi, _Completed(api))
