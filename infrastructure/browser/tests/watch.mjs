// The watch itself: a page that does what no page may do is found out. Without
// this the other tests could pass because they see nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PHONE, sideways, withPage } from "../lib/browser.mjs";
import { MARKUP, world } from "./world.mjs";

const page = (html) => `data:text/html,${encodeURIComponent(`<!doctype html><meta name=viewport content="width=device-width">${html}`)}`;
const settled = (page) => page.waitForNetworkIdle({ idleTime: 300, timeout: 10_000 });

for (const [deed, html, told] of [
  ["runs markup of a name", MARKUP, /dialog opened: 1/],
  ["asks another machine", '<img src="http://elsewhere.invalid/x.png">', /request leaves the machine: http:\/\/elsewhere\.invalid/],
  ["connects to another machine", '<script>new WebSocket("ws://elsewhere.invalid/")</script>', /request leaves the machine: ws:\/\/elsewhere\.invalid/],
  ["breaks its policy", `<meta http-equiv=content-security-policy content="script-src 'none'"><p onclick="x()">`, /CSP: script-src/],
  ["logs an error", '<script>console.error("wrong")</script>', /console error: wrong/],
  ["throws", '<script>throw new Error("thrown")</script>', /uncaught: .*thrown/],
]) {
  test(`a page that ${deed} is found out`, () => assert.rejects(withPage(world.browser, page(html), {}, settled), told));
}

test("a page that is wider than a phone is found out", () =>
  withPage(world.browser, page('<p class="wide" style="width: 900px">wide</p>'), { viewport: PHONE }, async (page) => {
    const problems = await sideways(page, PHONE.width);
    assert.match(problems.join("\n"), /px wide on a screen of 390\n<p class="wide"> ends at 9/);
  }));
