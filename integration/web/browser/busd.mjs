// Looks at busd's own page in Chromium as an operator would, while its module refuses, crashes and is reloaded. The environment
// says where things are; see ../page_test.go, which runs it.
import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { test } from 'node:test';

import { becomes, door, packages, text, visit } from './visit.mjs';

// Each visit begins at a file without an icon, for which Chromium looks, sometimes in time to say that there is none: 404.
const { TOKEN, FILE, BUSD } = process.env;
const { source: axe } = packages('axe-core');

// ask asks whether a user may create a room, and returns the ID of the decision.
async function ask(user) {
  const rsp = await fetch(door + '/_modulebus/v1/ask/spam_checker/user_may_create_room', {
    method: 'POST', headers: { Authorization: 'Bearer ' + TOKEN }, body: JSON.stringify({ user_id: user }),
  });
  return (await rsp.json()).decision_id;
}

// reload edits the configuration, and has busd read it.
async function reload(edit) {
  await writeFile(FILE + '.new', edit(await readFile(FILE, 'utf8')));
  await rename(FILE + '.new', FILE);
  process.kill(Number(BUSD), 'SIGHUP');
}

// accessible fails for what a tool finds that hinders people.
async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map(v => [v.id, v.nodes.map(n => n.html + ' ' + n.failureSummary)]), [], what);
}

async function signIn(page) {
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await becomes(page, 'h1', 'Modules and decisions');
}

test('the page shows what happens as it happens', () => visit('/_modulebus/assets/page.css', async page => {
  const rsp = await page.goto(door + '/_modulebus/explain?id=d-unknown').catch(() => null);
  assert.equal(rsp?.status(), 401);
  await accessible(page, 'signing in');
  await page.fill('#token', 'guessed');
  await page.click('form.sign button');
  await becomes(page, '[role=alert]', 'this is not the token');
  await page.fill('#token', TOKEN);
  await page.click('form.sign button');
  await becomes(page, '[role=alert]', 'There is no record "d-unknown"');
  await accessible(page, 'an unknown decision');
  await page.click('header a');
  await becomes(page, '#connection', 'as it happens');
  await page.evaluate(() => { globalThis.loaded = 'once'; });
  await becomes(page, '#module-demo .state', 'ready');
  await page.click('#module-demo summary');

  const id = await ask('@evilguy:example.com');
  await becomes(page, '#decisions tr:first-child', 'refused by demo');
  assert.equal(await text(page, '#decisions tr:first-child a'), id);
  await becomes(page, '#news', '1 refused');

  const pid = Number(await text(page, '#module-demo tbody tr:first-child td:nth-child(4)'));
  process.kill(pid, 'SIGKILL');
  await becomes(page, '#module-demo .facts', '1 restart');
  await becomes(page, '#module-demo', /Last error, which is over: .* killed/);
  await becomes(page, '#module-demo .facts', '2 workers');

  await reload(text => text + '  - module: <i>late</i>\n    callbacks: {user_may_invite: {on_failure: skip}}\n');
  await becomes(page, '#modules > li:nth-child(2) h3', '<i>late</i>');
  await becomes(page, '#head', 'Added: <i>late</i>.');
  await reload(text => text.replace('workers: 2', 'workers: many'));
  await becomes(page, '#head [role=alert]', 'workers');
  assert.equal(await page.locator('#module-demo details[open]').count(), 1, 'what the reader has opened was closed');
  assert.equal(await page.evaluate(() => globalThis.loaded), 'once', 'the page was loaded again');
  await accessible(page, 'modules');
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'modules in the dark');

  await page.click('#decisions tr:first-child a');
  await becomes(page, 'h1', 'Decision ' + id);
  await becomes(page, 'tbody tr', /demo.*refusal M_FORBIDDEN.*yes: it decided/);
  await accessible(page, 'a decision');

  await page.click('header button');
  await becomes(page, 'h1', 'Sign in');
}, { expected: ['401', '404'] }));

test('the page can be used with the keyboard, and read without scripts', () => visit('/_modulebus/assets/page.css', async page => {
  await ask('@evilguy:example.com');
  await page.goto(door + '/_modulebus/').catch(() => null);
  await signIn(page);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.focus('#module-demo summary');
  await page.keyboard.press('Enter');
  await becomes(page, '#module-demo details[open] caption', 'Workers');
  assert.match(await text(page, '#connection'), /reload it/);
  await becomes(page, '#decisions tr', 'refused by demo');
}, { javaScriptEnabled: false, expected: ['401', '404'] }));

test('the page follows later when it cannot at once, and misses nothing', () => visit('/_modulebus/assets/page.css', async page => {
  await page.route('**/_modulebus/live?*', route => route.fulfill({ status: 503 }), { times: 1 });
  await page.goto(door + '/_modulebus/').catch(() => null);
  await signIn(page);
  await becomes(page, '#connection', 'tries again');
  const id = await ask('@evilguy:example.com');
  await becomes(page, '#connection', 'as it happens');
  await becomes(page, '#decisions tr:first-child a', id);
  assert.equal(await page.locator('#decisions a', { hasText: id }).count(), 1);
}, { expected: ['401', '404', '503'] }));

test('a script of a page that a module has at the same name and port reads nothing of it', () => visit('/_modulebus/assets/page.css', async page => {
  await page.goto(door + '/_modulebus/').catch(() => null);
  await signIn(page);
  const other = await page.context().newPage();
  await other.goto(door + '/_synapse/client/demo/hello?name=alice');
  const read = path => other.evaluate(async path => { const rsp = await fetch(path); return rsp.status + ' ' + await rsp.text(); }, path);
  assert.match(await read('/_modulebus/'), /^403 (?!.*module-demo)/s);
  assert.match(await read('/_modulebus/explain?id=d-1'), /^403 (?!.*Decision)/s);
  assert.match(await read('/_modulebus/live?version=0'), /^403 (?!.*module-demo)/s);
  const opened = page.context().waitForEvent('page');
  await other.evaluate(() => { globalThis.opened = open('/_modulebus/'); });
  await becomes(await opened, 'h1', 'Modules and decisions');
  const seen = await other.evaluate(() => { try { return String(globalThis.opened?.document?.body?.innerText); } catch (e) { return e.name; } });
  assert.doesNotMatch(seen, /Modules and decisions/, 'it looked into a window that it opened');
}, { expected: ['401', '403', '404'] }));
