// A module in JavaScript, without a kit: it refuses some users the creation of rooms. docs/protocol.md explains what it says.
import { readFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { connect, credsAuthenticator, headers } from "@nats-io/transport-node";

const env = process.env;
for (const name of ["MODULEBUS_NATS_URL", "MODULEBUS_SERVER_NAME", "MODULEBUS_MODULE"]) {
  if (env[name]) continue;
  console.error(`${name} is not set; busd sets it for the modules that it runs, and for those that it verifies`);
  process.exit(2);
}
const token = (text) =>
  encodeURIComponent(text).replace(/[.~!*'()]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase()) || "%";

const server = token(env.MODULEBUS_SERVER_NAME), module = token(env.MODULEBUS_MODULE);
const worker = env.MODULEBUS_WORKER ?? randomUUID(), most = 256; // so many questions at once
const callback = "spam_checker.user_may_create_room";
const asked = `modulebus.${server}.cb.${callback}.${module}`, about = `modulebus.${server}.module.${module}`;

const withHeaders = (fields) => {
  const h = headers();
  for (const [name, value] of Object.entries(fields)) h.set(name, value);
  return { headers: h };
};
const json = withHeaders({ "Content-Type": "application/json" });
// An empty payload with these headers; without them it would be "no opinion".
const failure = (kind, text) => withHeaders({ "Nats-Service-Error-Code": kind, "Nats-Service-Error": text });

class Refused extends Error {} // the configuration, at path

function parse(config) {
  for (const key of Object.keys(config)) if (!["deny", "text"].includes(key)) throw Object.assign(new Refused("is not a known key"), { path: key });
  if (!Array.isArray(config.deny ?? [])) throw Object.assign(new Refused("must be a list of user IDs"), { path: "deny" });
  return { deny: config.deny ?? [], text: config.text ?? "You may not create rooms" };
}

async function decide(user, config) { // a real module awaits its database here, or the homeserver
  return config.deny.includes(user) ? { refusal: { errcode: "M_FORBIDDEN", error: config.text } } : {};
}

const nc = await connect({
  servers: env.MODULEBUS_NATS_URL.split(","), maxReconnectAttempts: -1, ignoreAuthErrorAbort: true, name: `${env.MODULEBUS_MODULE}/${worker}`,
  inboxPrefix: `${about}.inbox.${token(worker)}`,
  authenticator: env.MODULEBUS_CREDENTIALS ? credsAuthenticator(readFileSync(env.MODULEBUS_CREDENTIALS)) : undefined,
});
const busd = async (what, body) => (await nc.request(`${about}.${what}`, JSON.stringify(body), { timeout: 2000, ...json })).json();

let config, revision, subscriptions = [], stopping = false, wake = () => {};
const answers = new Set();
process.on("SIGTERM", () => { stopping = true; wake(); });
nc.closed().then(() => { // It never opens again: let somebody start this anew.
  if (!stopping) process.exit(1);
});

async function answer(msg) {
  try {
    const reply = JSON.stringify(await decide(msg.json().user_id, config));
    if (Buffer.byteLength(reply) > nc.info.max_payload - 1024) throw new RangeError(); // headers count, too
    msg.respond(reply, json);
  } catch (error) { // whose text may have a secret in it
    msg.respond("", failure("error", error.name));
  }
}

function onQuestion(error, msg) {
  if (error || msg.headers?.has("Nats-Stream")) return; // NATS refuses the subscription, or it comes out of a store
  if (answers.size >= most) return msg.respond("", failure("busy", "too many questions at once"));
  const task = answer(msg).finally(() => answers.delete(task));
  answers.add(task);
}

async function join() {
  const entry = await busd("entry", {});
  if (!entry.listed) return 1000;
  const joined = { worker, version: "1.1.0", config_revision: entry.config_revision, json: true };
  try {
    config = parse(entry.config);
    revision = entry.config_revision;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    joined.config_error = { path: error.path, error: error.message };
  }
  if (!config) { // The first one was refused: say so, and end. busd starts this program again when it has changed.
    await busd("join", joined);
    process.exit(78);
  }
  if (!subscriptions.length) {
    subscriptions = [
      nc.subscribe(`${about}.changed`, { callback: () => wake() }),
      nc.subscribe(asked, { queue: module, callback: onQuestion }),
      nc.subscribe(`${asked}.${token(worker)}`, { callback: onQuestion }),
    ];
    await nc.flush();
  }
  await busd("join", { ...joined, config_revision: revision, callbacks: [callback] }); // that of the config that it runs with
  return entry.join_every_ms;
}

while (!stopping) { // busd forgets who does not join again, and knows nobody when it starts
  let pause = 1000;
  const woken = new Promise((resolve) => { wake = resolve; });
  try {
    pause = await join();
  } catch (error) {
    console.log(`waiting for busd: ${error.message}`);
  }
  let timer;
  if (!stopping) await Promise.race([woken, new Promise((resolve) => { timer = setTimeout(resolve, pause); })]);
  clearTimeout(timer);
}
await Promise.allSettled(subscriptions.map((subscription) => subscription.drain())); // what is on its way still comes
await Promise.allSettled([busd("leave", { worker }), ...answers]);
await nc.close();
