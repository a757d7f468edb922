"""A module that reads decisions, and prints what was refused."""

from typing import Any

import modulebus


class Reading:
    version = "1.0.0"

    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        homeserver.read_decisions(self.read)

    async def read(self, decisions: list[dict[str, Any]], lost: int) -> None:
        for decision in decisions:
            print(f"{decision['outcome']} by {decision.get('decided_by')}, {lost} lost", flush=True)
        if any(decision["outcome"] == "refused" for decision in decisions):
            raise ValueError("a reader that fails is handed the next ones all the same")


if __name__ == "__main__":
    modulebus.main(Reading)
