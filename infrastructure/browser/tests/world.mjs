// What the tests share: one browser, one fault of the simulator, and two
// services that no fleet would have. The faults run while the first tests look
// at other things, so that nothing waits for them twice.
import { Stranger, connect, disconnect } from "../lib/broker.mjs";
import { openBrowser } from "../lib/browser.mjs";
import { giveUp, incidentWhere, isComplete, json, simulatorIsLive, stack } from "../lib/stack.mjs";

export const VICTIM = "payment-service";
export const SCENARIO = "DB_CONNECTION_EXHAUSTION";

/** Markup where a service's name belongs, and in each text beside it. */
export const MARKUP = "<img src=x onerror=alert(1)>";
export const WORDS = `"'><script>alert(2)</script>${MARKUP}`;
/** Elements of our pages that only injected markup can have made. */
export const FOREIGN = 'img:not([src^="/static/"]), [onerror], script:not([src])';
/** A name of the greatest length that is taken (256 bytes), with no place to break it. */
export const LONG = `service-${"x".repeat(248)}`;

/** A fault may take this long from injection to postmortem. */
const LIFE_LIMIT_MS = 120_000;

export const world = {};

/** From first reading to postmortem; the incident with all its parts. */
async function liveThrough(stranger) {
  await stranger.fail();
  const planned = (found) => found.remediation_plan !== null || found.status === "RESOLVED";
  await incidentWhere(stranger.service, "has a plan", LIFE_LIMIT_MS, planned);
  await stranger.recover();
  return incidentWhere(stranger.service, "is resolved, with postmortem and five mails", LIFE_LIMIT_MS, isComplete);
}

/** A promise that may fail before anyone asks for it. */
function later(promise) {
  promise.catch(() => {});
  return promise;
}

export async function arrive() {
  await json(`${stack.dashboard}/health`);
  await connect();
  world.browser = await openBrowser();
  await simulatorIsLive();
  world.markup = later(liveThrough(new Stranger(MARKUP, "browser-markup", WORDS)));
  world.long = later(liveThrough(new Stranger(LONG, `browser-long-${"y".repeat(200)}`, "z".repeat(2_000))));
}

/** The incident of the injected fault when its life is over. */
export function victim() {
  const whole = "is resolved, with postmortem and five mails";
  world.victim ??= later(incidentWhere(VICTIM, whole, LIFE_LIMIT_MS, isComplete));
  return world.victim;
}

export async function leave() {
  giveUp();
  await world.browser?.close();
  await disconnect();
}
