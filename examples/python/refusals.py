"""A module in Python with the kit: it posts what modules refuse into a room. The operator grants it decisions.read and rooms.send."""

from typing import Any

import modulebus


class Refusals:
    version = "1.0.0"

    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        async def read(decisions: list[dict[str, Any]], lost: int) -> None:
            for d in decisions:
                if d["outcome"] == "refused" and d["callback"] in config["callbacks"]:
                    text = f"{d['callback']} was refused by {d['decided_by']}: busd explain {d['id']}"
                    await homeserver.send_notice(config["room"], config["sender"], text)

        homeserver.read_decisions(read)


if __name__ == "__main__":
    modulebus.main(Refusals)
