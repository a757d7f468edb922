# Starts Synapse 1.163.2 with a module that does nothing, and puts what matrix-js-sdk 43.0.0 says of a room's last message into $dir:
# sdk.js URL USER TOKEN ROOM. Needs synapse.bash, and Node 20 or later.
sdk() {
	more='caches: {sync_response_cache_duration: 0s}'
	synapse 1.163.2 <<'PY'
class Module:
    """Does nothing."""

    def __init__(self, config, api):
        pass
PY
	cd "$dir"
	echo '{"type": "module", "dependencies": {"matrix-js-sdk": "43.0.0"}}' >package.json
	npm install --silent --no-audit --no-fund --ignore-scripts
	cat >sdk.js <<'JS'
// Node has had this since version 22.
Promise.withResolvers ??= () => {
    let resolve, reject;
    const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
    return { promise, resolve, reject };
};
const { createClient } = await import("matrix-js-sdk");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.disableAll();
console.debug = () => {};

const [baseUrl, userId, accessToken, roomId] = process.argv.slice(2);
const client = createClient({ baseUrl, userId, accessToken });
await client.startClient();
await new Promise((ready) => client.on("sync", (state) => state === "PREPARED" && ready()));
const event = client.getRoom(roomId).getLiveTimeline().getEvents().at(-1);
const { notify, tweaks } = client.getPushActionsForEvent(event);
console.log(JSON.stringify({ notifies: notify ?? false, highlights: tweaks?.highlight ?? false }));
process.exit();
JS
}
