// The feed, from before a fault to its end, in one page that is never loaded
// again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inPage, withPage } from "../lib/browser.mjs";
import { eventually, inject, json, stack } from "../lib/stack.mjs";
import { FOREIGN, MARKUP, SCENARIO, VICTIM, world } from "./world.mjs";

/** The rows of the feed: key, state, and the services named. */
const rows = (page) =>
  page.$$eval(".feed [data-key]", (found) =>
    found.map((row) => ({
      key: row.dataset.key,
      state: row.dataset.state,
      services: [...row.querySelectorAll(".chip")].map((chip) => chip.textContent),
    })),
  );

test("the feed shows a fault over WebSocket without being loaded again", async () => {
  await withPage(world.browser, `${stack.dashboard}/`, {}, async (page, watch) => {
    await inPage(page, "the live lamp is on", 10_000, () => document.querySelector("#live.on") !== null);
    const before = new Set((await rows(page)).map((row) => row.key));
    await page.evaluate(() => (window.stayed = true));
    const frames = watch.frames;

    await inject(SCENARIO, VICTIM);
    const fresh = async () => (await rows(page)).find((row) => !before.has(row.key) && row.services.includes(VICTIM));
    const first = await eventually(`a row of ${VICTIM} appears in the open feed`, 60_000, fresh, () => rows(page));
    assert.ok(watch.frames > frames, "the row came without news over the WebSocket");
    assert.notEqual(first.state, "RESOLVED");

    const states = new Set([first.state]);
    await eventually(
      "that row changes its status until it says RESOLVED",
      90_000,
      async () => {
        const row = (await rows(page)).find(({ key }) => key === first.key);
        if (row) states.add(row.state);
        return row?.state === "RESOLVED";
      },
      async () => [...states].join(" → "),
    );
    assert.ok(states.size >= 2, `states seen: ${[...states]}`);
    const named = async () => (await rows(page)).some((row) => row.services.includes(MARKUP));
    await eventually(`a row of the service ${MARKUP}`, 30_000, named, () => rows(page));
    assert.equal((await page.$$(FOREIGN)).length, 0, "markup of a name became an element");
    assert.equal(await page.evaluate(() => window.stayed), true, "the page was loaded again");
    assert.equal(watch.navigations, 1, "the page was loaded again");
    const words = await page.$eval(`[data-key="${first.key}"] .state`, (state) => state.textContent);
    assert.equal(words.toLowerCase(), "resolved");
  });
});

test("the filters of the feed narrow it by status, severity and service", async () => {
  await withPage(world.browser, `${stack.dashboard}/`, {}, async (page) => {
    for (const [name, value] of [["service", VICTIM], ["status", "RESOLVED"]]) {
      const loaded = page.waitForNavigation();
      await page.select(`.filters select[name=${name}]`, value);
      await loaded;
    }
    const address = new URL(page.url());
    assert.equal(address.searchParams.get("service"), VICTIM);
    assert.equal(address.searchParams.get("status"), "RESOLVED");
    const found = await rows(page);
    assert.ok(found.length > 0, "no resolved incident of the service is shown");
    for (const row of found) assert.equal(row.state, "RESOLVED");
  });
  const { items } = await json(`${stack.dashboard}/api/incidents?service=${VICTIM}`);
  const absent = ["CRITICAL", "HIGH", "MEDIUM"].find((name) => items.every((item) => item.severity !== name));
  assert.ok(absent, "all severities occur, so none can show an empty list");
  const query = new URLSearchParams({ service: VICTIM, severity: absent });
  await withPage(world.browser, `${stack.dashboard}/?${query}`, {}, async (page) => {
    assert.deepEqual(await rows(page), []);
    assert.match(await page.$eval("main", (main) => main.innerText), /No incident matches these filters/);
  });
});
