// Opens the pages of examples/web.yaml in Chromium, and uses them as a person would. The environment says where things
// are; see ../browser_test.go, which runs it.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { becomes, text, visit } from './visit.mjs';

// watch keeps what look returns whenever the page has changed, once for each value, and when that was.
async function watch(page, look) {
  const seen = await page.evaluateHandle(`(() => {
    const look = ${look}, seen = [];
    const note = () => {
      const value = look();
      if (value !== seen.at(-1)?.value) seen.push({ value, at: Date.now() });
    };
    new MutationObserver(note).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    return seen;
  })()`);
  return () => seen.jsonValue();
}

test('upload shows progress, and what arrived', () => visit('/_synapse/client/upload', async page => {
  const dir = await mkdtemp(join(tmpdir(), 'upload-'));
  try {
    const size = 20_000_000, file = randomBytes(size), path = join(dir, 'file');
    await writeFile(path, file);
    // A browser tells of progress ten times per second. From here to here 20 MB might take less than that.
    const network = await page.context().newCDPSession(page);
    await network.send('Network.enable');
    await network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: size });

    await page.setInputFiles('input', path);
    const progress = await watch(page, () => document.querySelector('progress').value);
    await page.click('button');
    await page.locator('dl').waitFor();

    assert.equal(await text(page, '#size'), '20,000,000 bytes');
    assert.equal(await text(page, '#sha256'), createHash('sha256').update(file).digest('hex'));
    const shown = (await progress()).map(({ value }) => value);
    assert.ok(shown.filter(value => value > 0 && value < 1).length > 1, `the progress bar showed ${shown}`);
    assert.deepEqual(shown, shown.toSorted((a, b) => a - b));
    assert.equal(shown.at(-1), 1);
  } finally {
    await rm(dir, { recursive: true });
  }
}));

test('echo answers text and bytes, and closes cleanly', () => visit('/_synapse/client/echo', async page => {
  await becomes(page, '#state', /^open$/);
  for (const said of ['hello', 'grüß Gott 👋', 'x'.repeat(30_000)]) {
    await page.fill('input', said);
    await page.click('button');
    await becomes(page, 'li.received:first-child', said);
    assert.equal(await text(page, 'li.sent >> nth=0'), said);
  }
  await page.click('#bytes');
  const bytes = await text(page, 'li.sent >> nth=0');
  assert.match(bytes, /^bytes( [0-9a-f]{2}){16}$/);
  await becomes(page, 'li.received:first-child', bytes);
  assert.equal(await page.locator('li.received').count(), 4);

  await page.click('#close');
  await becomes(page, '#state', 'closed (1000)');
}));

test('clock ticks while it ticks', () => visit('/_synapse/client/clock', async page => {
  const watched = await watch(page, () => document.querySelector('#tick').innerText + ' ' + document.querySelector('time').dateTime);
  await becomes(page, '#tick', /^4$/);
  assert.equal(await text(page, '#state'), 'open');
  const ticks = (await watched()).map(({ value, at }) => {
    const [tick, sent] = value.split(' ');
    return { tick: Number(tick), sent: Date.parse(sent), at };
  }).filter(({ tick }) => tick > 0);
  const said = JSON.stringify(ticks);
  assert.ok(ticks.length >= 3, said);
  assert.deepEqual(ticks.map(({ tick }) => tick), ticks.map((_, i) => ticks[0].tick + i), said);
  // Had anything on the way kept them back, the first would have come after the last was sent.
  assert.ok(ticks[0].at < ticks.at(-1).sent, said);
}));
