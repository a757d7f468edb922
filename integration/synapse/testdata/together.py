"""A module inside Synapse's process that says in each event's `unsigned` how many questions about its room were under way."""

import collections


class Together:
    def __init__(self, config, api):
        self.api, self.under_way = api, collections.Counter()
        api.register_add_extra_fields_to_unsigned_client_event_callbacks(add_field_to_unsigned_callback=self.add)

    async def add(self, event):
        self.under_way[event.room_id] += 1
        most = self.under_way[event.room_id]
        for _ in range(3):  # Whatever else the request has begun goes on while this waits for the database.
            await self.api.run_db_interaction("together", lambda txn: txn.execute("SELECT 1"))
            most = max(most, self.under_way[event.room_id])
        self.under_way[event.room_id] -= 1
        return {"org.example.under_way": most}
