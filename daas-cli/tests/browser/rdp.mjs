// Remote Desktop in the page: log in with the desktop's own account, see it, and change it by a key.

import { create, examine, lookUntil, must, ready, signIn, story } from "./browser.mjs";

const canvas = "#screen iron-remote-desktop canvas";

await story(async ({ page }) => {
  await signIn(page);
  await create(page, "by-remote-desktop", { session_user: "ada", session_password: "Lovelace-1815" });
  await ready(page);
  await page.click("a[href$='/rdp']:not([download])");
  await examine(page, "rdp-log-in");
  await page.fill("#user", "ada");
  await page.fill("#word", "wrong");
  await page.click("#log-in button");
  await page.waitForSelector("#said[data-state=ended]");
  await page.fill("#word", "Lovelace-1815");
  await page.click("#log-in button");
  await page.waitForSelector("#said[data-state=connected]");
  const before = await lookUntil(page, (seen) => seen.colours > 1000, "no desktop is drawn", canvas);
  await examine(page, "rdp");
  must(await page.inputValue("#word") === "", "the page keeps the password");
  await page.click(canvas);
  await page.keyboard.press("a");
  await lookUntil(page, (seen) => seen.sum !== before.sum, "the key changed nothing", canvas);
});
