// Has matrix-js-sdk, a client that others wrote, do what a module allows and what it refuses. The environment says where
// the homeserver is and who logs in; see ../synapse_client_test.go, which runs it.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

const { PACKAGES, URL: homeserver, USER: user, PASSWORD: password, OTHER: other } = process.env;
const sdk = await import(pathToFileURL(createRequire(PACKAGES + '/').resolve('matrix-js-sdk')));

const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, getChild: () => silent };

let client;
let room;
before(async () => {
  const login = await sdk.createClient({ baseUrl: homeserver, logger: silent })
    .loginRequest({ type: 'm.login.password', identifier: { type: 'm.id.user', user }, password });
  client = sdk.createClient({
    baseUrl: homeserver, accessToken: login.access_token, userId: login.user_id, deviceId: login.device_id, logger: silent,
  });
  room = (await client.createRoom({ name: 'kitchen' })).room_id;
});
after(() => client?.stopClient());

// arrival resolves once a sync brings a message with this text: to the timeline, or in the place of what was shown there
// while it was being sent.
function arrival(text) {
  return new Promise(resolve => {
    const look = event => event.getContent().body === text && event.status === null && resolve(event);
    client.on(sdk.RoomEvent.Timeline, look);
    client.on(sdk.RoomEvent.LocalEchoUpdated, look);
  });
}

// refused wants the module's refusal to reach the program that called the client, whole.
async function refused(what, error) {
  await assert.rejects(what, e => {
    assert.ok(e instanceof sdk.MatrixError, `${e}`);
    assert.equal(e.httpStatus, 403);
    assert.equal(e.errcode, 'ORG_EXAMPLE_REFUSED');
    assert.deepEqual(e.data, { errcode: 'ORG_EXAMPLE_REFUSED', error, 'org.example.appeal': { to: '@admin:example.org' } });
    return true;
  });
}

test('what the module allows', { timeout: 60_000 }, async () => {
  const sent = await client.sendTextMessage(room, 'good morning');
  const comes = arrival('good morning');
  await client.startClient({ initialSyncLimit: 20 });
  const event = await comes;
  assert.equal(event.getId(), sent.event_id);
  assert.equal(event.getSender(), client.getUserId());
  await client.invite(room, other);
});

test('what the module refuses', { timeout: 60_000 }, async () => {
  await refused(client.createRoom({ name: 'casino' }), 'no casinos here');
  await refused(client.sendTextMessage(room, 'cheap watches'), 'nobody wants your watches');
  await refused(client.invite(room, other.replace(/^@[^:]*/, '@stranger')), 'no strangers here');
});

test('what comes after a refusal', { timeout: 60_000 }, async () => {
  const comes = arrival('good night');
  const sent = await client.sendTextMessage(room, 'good night');
  assert.equal((await comes).getId(), sent.event_id);
  const page = await client.createMessagesRequest(room, null, 100, sdk.Direction.Backward);
  const bodies = page.chunk.filter(event => event.type === 'm.room.message').map(event => event.content.body);
  assert.deepEqual(bodies, ['good night', 'good morning']);
});
