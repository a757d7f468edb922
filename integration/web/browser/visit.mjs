// A Chromium, and visits to pages with it. The environment says where things are; see ../browser_test.go.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';

export const { CHROMIUM, PACKAGES, URL: door } = process.env;
export const packages = createRequire(PACKAGES + '/');
const { chromium } = packages('playwright-core');

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    // Chromium looks for nobody but the page, and works for root, in a container without a GPU.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-sync', '--disable-dev-shm-usage'],
  });
});
after(() => browser?.close());

// visit opens a page, and fails if anything in it does that is not expected.
export async function visit(path, use, { expected = [], ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const failed = [];
  page.on('pageerror', error => failed.push(error.message));
  page.on('console', message => message.type() === 'error' && !expected.some(e => message.text().includes(e)) && failed.push(message.text()));
  try {
    await page.goto(door + path);
    await use(page);
  } catch (error) {
    const said = await page.innerText('body').catch(() => 'nothing');
    throw new Error(`${error.message}\nand the page said:\n${said}\n${failed.join('\n')}`, { cause: error });
  } finally {
    await context.close();
  }
  assert.deepEqual(failed, []);
}

export const text = (page, selector) => page.innerText(selector);
export const becomes = (page, selector, want) => page.locator(selector, { hasText: want }).first().waitFor();
