// What people decide about a postmortem: draft, reviewed, published.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PHONE, sideways, signIn, signOut, text, withPage } from "../lib/browser.mjs";
import { eventually, incident, stack } from "../lib/stack.mjs";
import { victim, world } from "./world.mjs";

const TOKEN = process.env.OPERATOR_TOKEN;
/** From the press of a button to what the agent made of it. */
const HEARD_LIMIT_MS = 30_000;

/** Presses a button of the page; the broker has the command then. */
async function press(page, command) {
  await Promise.all([page.waitForNavigation(), page.click(`#operate button[value=${command}]`)]);
  const words = command[0].toUpperCase() + command.slice(1);
  const said = await text(page, "#operate [role=status]");
  assert.match(said, new RegExp(`^${words} is on operator\\.commands, partition \\d+, offset \\d+\\.`));
}

/** Waits until the API tells this state, and the page after a reload as well. */
async function becomes(page, id, status) {
  const found = await eventually(
    `the postmortem is ${status}`,
    HEARD_LIMIT_MS,
    async () => {
      const found = await incident(id);
      return found.review?.status === status && found;
    },
    async () => (await incident(id)).review,
  );
  await page.reload({ waitUntil: "load" });
  assert.equal(await page.$eval("#review", (line) => line.dataset.status), status);
  assert.equal(await text(page, "#review .state"), status);
  return found;
}

const lines = (found, type) => found.timeline.filter(({ event_type }) => event_type === type);

test("a postmortem is reviewed and published by the buttons of its page, in this order only", async () => {
  assert.ok(TOKEN, "OPERATOR_TOKEN is not set; the stack sets it for its command");
  const { id } = await victim();
  const at = `${stack.dashboard}/incidents/${id}`;
  await withPage(world.browser, at, {}, async (page) => {
    assert.equal(await page.$("#operate button[value=review]"), null, "nobody is signed in, nothing is to be pressed");
    const draft = await becomes(page, id, "draft");
    assert.deepEqual([draft.review.reviewed_by, draft.review.published_by], [null, null]);
    await signIn(page, TOKEN);
    const name = await text(page, "#operate form.small b");
    assert.ok(name.length > 0, "the page does not say who is signed in");

    // A draft is not published: the agent says why, and it stays a draft.
    const before = lines(draft, "COMMAND_REFUSED").length;
    await press(page, "publish");
    const refused = await eventually("publishing a draft is refused", HEARD_LIMIT_MS, async () => {
      const found = await incident(id);
      return lines(found, "COMMAND_REFUSED").length > before && found;
    });
    assert.match(lines(refused, "COMMAND_REFUSED").at(-1).summary, /is draft, not reviewed/);
    await becomes(page, id, "draft");

    await page.type("#operate input[name=reason]", "read by a test of the pages");
    await press(page, "review");
    const reviewed = await becomes(page, id, "reviewed");
    assert.deepEqual([reviewed.review.reviewed_by, reviewed.review.published_by], [name, null]);
    assert.ok(reviewed.review.reviewed_at_ms > 0);
    const version = reviewed.review.version;
    assert.ok((await text(page, "#review")).includes(`reviewed by ${name}`));

    await press(page, "publish");
    const published = await becomes(page, id, "published");
    assert.deepEqual(
      [published.review.version, published.review.reviewed_by, published.review.published_by],
      [version, name, name],
    );
    assert.ok(published.review.published_at_ms >= published.review.reviewed_at_ms);
    assert.ok((await text(page, "#review")).includes(`published by ${name}`));
    for (const type of ["POSTMORTEM_REVIEWED", "POSTMORTEM_PUBLISHED"]) {
      assert.deepEqual(lines(published, type).length, 1, `${type} once in the timeline`);
    }
    await page.setViewport(PHONE);
    assert.deepEqual(await sideways(page, PHONE.width), []);
    await signOut(page);
  });
  // Once reviewed it is learnt from.
  await eventually("the reviewed incident is in the knowledge store", HEARD_LIMIT_MS, async () =>
    lines(await incident(id), "INCIDENT_LEARNT").length > 0,
  );
});
