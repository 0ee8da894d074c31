// Runs the browser tests against the stack whose addresses are in the
// environment:
//
//   target/debug/midwatch-stack run --quiet --speed 10 -- node infrastructure/browser/run.mjs
//
// Further arguments go to node's test runner, such as
// --test-name-pattern='feed'. Ends with its exit code.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import "./lib/stack.mjs";
import "./lib/modules.mjs";

/** The whole run; every wait inside has a shorter limit of its own. */
const LIMIT_MS = 360_000;

const tests = fileURLToPath(new URL("tests/all.test.mjs", import.meta.url));
const runner = spawn(process.execPath, ["--test-reporter=spec", ...process.argv.slice(2), tests], { stdio: "inherit" });
const limit = setTimeout(() => {
  console.error(`the browser tests took more than ${LIMIT_MS / 1000} s`);
  runner.kill("SIGTERM");
}, LIMIT_MS);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => runner.kill(signal));
runner.on("exit", (code, signal) => {
  clearTimeout(limit);
  process.exitCode = signal ? 1 : code;
});
