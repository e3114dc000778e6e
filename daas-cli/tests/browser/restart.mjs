// The server is killed while a screen is shown: the page says so, and shows it again by itself.

import { base, create, ready, signIn, story } from "./browser.mjs";

await story(async ({ page, complaints }) => {
  await signIn(page);
  const id = await create(page, "through-a-restart");
  await ready(page);
  await page.goto(`${base}/desktops/${id}/console`);
  await page.waitForSelector("#said[data-state=connected]");
  await page.waitForSelector("#said[data-state=lost], #said[data-state=connecting]");
  await page.waitForSelector("#said[data-state=connected]");
  // What the browser and the viewer say of a server that is away is no complaint of ours.
  complaints.length = 0;
});
