// Each page on a desk and on a phone: nothing sticks out sideways, nothing is
// logged, nothing leaves the machine. The names shown include the longest that
// are taken.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DESK, PHONE, sideways, withPage } from "../lib/browser.mjs";
import { topicName } from "../lib/broker.mjs";
import { stack } from "../lib/stack.mjs";
import { LONG, MARKUP, VICTIM, victim, world } from "./world.mjs";

const dashboard = (path) => async () => stack.dashboard + path;
const topics = (path) => async () => stack.topics + path;
const incidentOf = (promise) => async () => `${stack.dashboard}/incidents/${(await promise()).id}`;

const PAGES = {
  "the feed": dashboard("/"),
  "the feed with a filter that finds nothing": dashboard("/?status=DETECTING&severity=LOW"),
  "the feed of a service with a very long name": dashboard(`/?service=${LONG}`),
  "the incident page": incidentOf(victim),
  "the incident page of a service named like an image": incidentOf(() => world.markup),
  "the incident page of a service with a very long name": incidentOf(() => world.long),
  "the fleet": dashboard("/fleet"),
  "a service of the fleet": dashboard(`/fleet/${VICTIM}`),
  "a service named like an image": dashboard(`/fleet/${encodeURIComponent(MARKUP)}`),
  "a service with a very long name": dashboard(`/fleet/${LONG}`),
  "the knowledge page": dashboard("/knowledge"),
  "a search of the knowledge": dashboard("/knowledge?q=database+connections+exhausted"),
  "the agents page": dashboard("/agents"),
  "the topics": topics("/"),
  "a topic of readings": topics(`/topics/${topicName("raw.metrics")}`),
  "a topic of long messages": topics(`/topics/${topicName("incidents.opened")}`),
  "a topic of dead letters": topics(`/topics/${topicName("raw.metrics.dlq")}`),
};

for (const [name, address] of Object.entries(PAGES)) {
  test(`${name} fits a phone, logs nothing and asks nobody else`, async () => {
    const at = await address();
    for (const viewport of [PHONE, DESK]) {
      await withPage(world.browser, at, { viewport }, async (page, _, answer) => {
        assert.equal(answer.status(), 200, at);
        assert.ok(answer.headers()["content-security-policy"], `${at} has no content security policy`);
        for (const details of await page.$$("details:not([open]) > summary")) await details.evaluate((one) => one.click());
        assert.deepEqual(await sideways(page, viewport.width), [], `${at} at ${viewport.width} px`);
      });
    }
  });
}

test("an address that does not exist is answered by a page that fits, too", async () => {
  const missing = { viewport: PHONE, expect: [/status of 404/] };
  for (const at of [`${stack.dashboard}/nothing-${"n".repeat(200)}`, `${stack.topics}/topics/${"n".repeat(200)}`]) {
    await withPage(world.browser, at, missing, async (page, _, answer) => {
      assert.equal(answer.status(), 404, at);
      assert.deepEqual(await sideways(page, PHONE.width), [], at);
    });
  }
});
