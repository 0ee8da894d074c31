// The steps of a plan and who decides about them, one-time links, and incidents
// that people declare.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PHONE, sideways, text, withPage } from "../lib/browser.mjs";
import { eventually, json, stack } from "../lib/stack.mjs";
import { FOREIGN, victim, world } from "./world.mjs";

const TOKEN = process.env.OPERATOR_TOKEN;

async function post(path, body, headers = {}) {
  const answer = await fetch(`${stack.dashboard}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

const signed = { authorization: `Bearer ${TOKEN}` };

test("each step of a plan tells how far it is, and its command can be copied", async () => {
  const found = await victim();
  const plan = await json(`${stack.dashboard}/api/incidents/${found.id}/plan`);
  assert.match(plan.plan_hash, /^[0-9a-f]{64}$/);
  await withPage(world.browser, `${stack.dashboard}/incidents/${found.id}`, { viewport: PHONE }, async (page) => {
    for (const step of plan.steps) {
      const words = await text(page, `#step-${step.step_id}`);
      assert.ok(words.includes(step.action), words.slice(0, 300));
      const state = await text(page, `#step-${step.step_id} header .state`);
      assert.ok(state.length > 0, `${step.step_id} has no state`);
      const copied = await page.$eval(`#step-${step.step_id} .command code`, (code) => code.textContent);
      assert.equal(copied, step.command);
      if (step.typed) assert.ok(words.includes(step.typed.risk), `${step.step_id} does not name its risk`);
    }
    assert.ok((await text(page, "#plan")).includes(plan.plan_hash));
    assert.equal(await page.$("#plan button[value=approve]"), null, "it is over: nothing is to be decided");
    assert.deepEqual(await sideways(page, PHONE.width), []);
  });
  const { status, body } = await post(
    `/api/incidents/${found.id}/commands`,
    { command: "approve", target: plan.steps[0].step_id, plan_hash: plan.plan_hash },
    signed,
  );
  assert.equal(status, 409);
  assert.equal(body.error.code, "incident_over");
});

test("a link that is none is told so on a page that fits a phone", async () => {
  const refused = { viewport: PHONE, expect: [/status of 40[04]/] };
  for (const token of ["", "x".repeat(700), "<img src=x onerror=alert(1)>"]) {
    const at = `${stack.dashboard}/approve?${new URLSearchParams({ t: token })}`;
    await withPage(world.browser, at, refused, async (page, _, answer) => {
      assert.ok([400, 404].includes(answer.status()), `${answer.status()}`);
      assert.equal(await page.$$eval(FOREIGN, (all) => all.length), 0);
      assert.deepEqual(await sideways(page, PHONE.width), []);
    });
  }
});

test("an incident that a person declares is opened, shown and ended as it was stated", async () => {
  const service = `declared-${Date.now()}`;
  const said = { service, title: "Nobody can pay <img src=x>", severity: "LOW", environment: "simulation" };
  assert.equal((await post("/api/incidents", said)).status, 401);
  const { status, body } = await post("/api/incidents", said, signed);
  assert.equal(status, 202, JSON.stringify(body));
  const id = body.opens.incident_id;
  const at = `${stack.dashboard}/incidents/${id}`;
  await eventually("the declared incident is open", 30_000, async () => (await fetch(at)).ok);
  const again = await post("/api/incidents", said, signed);
  assert.equal(again.status, 409);
  assert.ok(again.body.error.message.includes(body.opens.short_id), again.body.error.message);
  await withPage(world.browser, at, {}, async (page) => {
    assert.equal(await text(page, "h1"), said.title);
    assert.equal(await page.$$eval(FOREIGN, (all) => all.length), 0);
    assert.match(await text(page, "#known"), /stated by /);
  });
  const stated = { root_cause: "A certificate had expired", fix: "It was renewed", toil_minutes: 12 };
  const ended = await post(`/api/incidents/${id}/commands`, { command: "close", stated }, signed);
  assert.equal(ended.status, 202, JSON.stringify(ended.body));
  await eventually("it is over", 30_000, async () => (await json(`${stack.dashboard}/api/incidents/${id}`)).status === "RESOLVED");
  await withPage(world.browser, at, {}, async (page) => {
    assert.match(await text(page, "#known"), /not measured: A certificate had expired; fix: It was renewed; toil: 12 min/);
  });
});
