// Sign in, ask for a desktop, watch it come, see its screen and change it by a key, extend, delete.

import { create, examine, lookUntil, must, ready, signIn, story } from "./browser.mjs";

await story(async ({ page }) => {
  await signIn(page);
  await create(page, "from-a-browser");
  await examine(page, "desktop-coming");
  await ready(page);
  await examine(page, "desktop-ready");
  await page.click("a[href$='/console']");
  await page.waitForSelector("#said[data-state=connected]");
  const before = await lookUntil(page, (seen) => seen.colours > 1000, "no desktop is drawn");
  await examine(page, "console");
  await page.click("#screen canvas");
  await page.keyboard.press("a");
  await lookUntil(page, (seen) => seen.sum !== before.sum, "the key changed nothing");
  await page.click(".toolbar a");
  const ends = page.locator("dl");
  await page.click("form[action$='/extend'] button");
  await ready(page);
  must(await ends.isVisible(), "the desktop's page is not shown");
  await page.click("a[href$='/deletion']");
  await examine(page, "deletion");
  await page.click("main form button.danger, main form button");
  await page.waitForSelector(".state.ended, .state.destroying");
});
