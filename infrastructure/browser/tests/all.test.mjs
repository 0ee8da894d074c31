// The tests in their order: the first starts the fault that the others look at.
import { after } from "node:test";
import { arrive, leave } from "./world.mjs";

await arrive();
after(leave);

await import("./feed.mjs");
await import("./watch.mjs");
await import("./incident.mjs");
await import("./pages.mjs");
await import("./topics.mjs");
await import("./hostile.mjs");
await import("./phone.mjs");
await import("./operate.mjs");
await import("./decide.mjs");
await import("./review.mjs");
