// What every story shares: a browser, somebody who has signed in, and what a page must always be.

import { createRequire } from "node:module";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { chromium } from "playwright-core";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

export const base = process.env.DAAS_URL;
export const person = { name: process.env.DAAS_PERSON, password: process.env.DAAS_PASSWORD };
const pictures = process.env.DAAS_PICTURES;
export const SOON = 60_000;

export function must(condition, what) {
  if (!condition) throw new Error(what);
}

// A browser without any of its own traffic, and one page in it whose complaints are failures.
export async function open(options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.DAAS_CHROMIUM,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options,
  });
  context.setDefaultTimeout(SOON);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { browser, context, page, complaints };
}

export async function signIn(page, { name, password } = person) {
  await page.goto(`${base}/desktops`);
  await page.fill("input[name=name]", name);
  await page.fill("input[name=password]", password);
  await Promise.all([page.waitForURL("**/desktops"), page.click("main form button")]);
}

// Asks for a desktop; its id.
export async function create(page, label, account = {}) {
  await page.goto(`${base}/desktops/new`);
  await page.fill("input[name=label]", label);
  for (const details of await page.locator("details").all()) {
    await details.evaluate((element) => { element.open = true; });
  }
  for (const [name, value] of Object.entries(account)) await page.fill(`input[name=${name}]`, value);
  await Promise.all([page.waitForURL(/\/desktops\/desktop-/), page.click("main form button")]);
  return page.url().split("/").pop();
}

export async function ready(page) {
  await page.waitForSelector(".state.ready", { timeout: 3 * SOON });
}

// A page without a violation of axe's rules, with a picture of it, at two widths.
export async function examine(page, name) {
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 800 });
    const beyond = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    must(beyond <= 0, `${name} is ${beyond} pixels wider than ${width}`);
    if (pictures) {
      await mkdir(pictures, { recursive: true });
      await page.screenshot({ path: path.join(pictures, `${name}-${width}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    // Evaluated by the browser's own tools, which no policy of the page's hinders.
    if (!(await page.evaluate(() => "axe" in globalThis))) {
      const { readFile } = await import("node:fs/promises");
      await page.evaluate(await readFile(axe, "utf8"));
    }
    const found = await page.evaluate(() => globalThis.axe.run(document));
    const told = found.violations.map(
      (v) => `${v.id}: ${v.help} (${v.nodes.map((n) => n.target.join(" ")).join(", ")})`,
    );
    must(told.length === 0, `${name}, ${colorScheme}: ${told.join("; ")}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

// The colours of a canvas, as a sum and a count: enough to see that it changed.
export async function look(page, selector = "#screen canvas") {
  return page.evaluate((selector) => {
    // A viewer that is a component has its canvas in a tree of its own.
    const find = (root, [first, ...rest]) => {
      const found = (root.shadowRoot ?? root).querySelector(first);
      return found && rest.length ? find(found, rest) : found;
    };
    const canvas = find(document, selector.split(" "));
    if (!canvas?.width) return null;
    const { width, height } = canvas;
    // A copy that is made to be read: reading the viewer's own canvas would slow it down.
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, width, height);
    const colours = new Set();
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) {
      const colour = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      colours.add(colour);
      sum = (sum * 31 + colour) >>> 0;
    }
    return { width, height, colours: colours.size, sum };
  }, selector);
}

// Looks until what is seen pleases; what was seen.
export async function lookUntil(page, pleases, what, selector) {
  const end = Date.now() + SOON;
  let seen = null;
  while (Date.now() < end) {
    seen = await look(page, selector);
    if (seen && pleases(seen)) return seen;
    await page.waitForTimeout(100);
  }
  throw new Error(`${what}; last seen ${JSON.stringify(seen)}`);
}

// Runs a story; whatever it opened is closed, also when it fails.
export async function story(tell, options) {
  const world = await open(options);
  try {
    await tell(world);
    must(world.complaints.length === 0, `the browser complains: ${world.complaints.join(" | ")}`);
  } finally {
    await world.browser.close();
  }
}
