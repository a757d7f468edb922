// Has matrix-js-sdk, a client that others wrote, do what a module allows and what it refuses, and prints as JSON what the
// program that called it got. The environment says where the homeserver is and who logs in; ../synapse_client_test.go
// runs it, and knows what it must print.
import { Console } from 'node:console';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { PACKAGES, URL: homeserver, USER: user, PASSWORD: password, OTHER: other } = process.env;
globalThis.console = new Console(process.stderr); // The client logs, too.
const sdk = await import(pathToFileURL(createRequire(PACKAGES + '/').resolve('matrix-js-sdk')));

async function login() {
  const baseUrl = homeserver;
  const { access_token: accessToken, user_id: userId, device_id: deviceId } = await sdk.createClient({ baseUrl })
    .loginRequest({ type: 'm.login.password', identifier: { type: 'm.id.user', user }, password });
  return sdk.createClient({ baseUrl, accessToken, userId, deviceId });
}

// arrival resolves once a sync brings a message with this text: to the timeline, or in the place of what was shown there
// while it was being sent.
function arrival(client, text) {
  return new Promise(resolve => {
    const look = event => event.getContent().body === text && event.status === null && resolve(event);
    client.on(sdk.RoomEvent.Timeline, look);
    client.on(sdk.RoomEvent.LocalEchoUpdated, look);
  });
}

// said is what a program reads of an error.
async function said(what) {
  try {
    return { allowed: await what };
  } catch (e) {
    const { errcode, httpStatus, data } = e;
    return { MatrixError: e instanceof sdk.MatrixError, errcode, httpStatus, data };
  }
}

async function synced(client, sent, comes) {
  const event = await comes;
  return event.getId() === (await sent).event_id && event.getSender() === client.getUserId();
}

async function texts(client, room) {
  const page = await client.createMessagesRequest(room, null, 100, sdk.Direction.Backward);
  return page.chunk.filter(event => event.type === 'm.room.message').map(event => event.content.body).reverse();
}

const client = await login();
const { room_id: room } = await client.createRoom({ name: 'kitchen' });
const got = {};

const morning = client.sendTextMessage(room, 'good morning');
await morning;
const comes = arrival(client, 'good morning');
await client.startClient({ initialSyncLimit: 20 });
got['a message comes with the sync'] = await synced(client, morning, comes);
got['an invite'] = await said(client.invite(room, other));

got['a room is refused'] = await said(client.createRoom({ name: 'casino' }));
got['a message is refused'] = await said(client.sendTextMessage(room, 'cheap watches'));
got['an invite is refused'] = await said(client.invite(room, other.replace(/^@[^:]*/, '@stranger')));

const later = arrival(client, 'good night');
got['a message after that comes with the sync'] = await synced(client, client.sendTextMessage(room, 'good night'), later);
got['the room has'] = await texts(client, room);

client.stopClient();
process.stdout.write(JSON.stringify(got) + '\n', () => process.exit());
