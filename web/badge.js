/** What the last run gained, on HiLo Model Patch: cleared when a run starts, and true in each of its states. */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { say, word, wordsLoaded } from "./words.js";

const WATCH_MS = 400;
const COLOURS = { running: "#1f5f99", gain: "#2e7d4f", dense: "#a35200", off: "#555", failed: "#a32020", cancelled: "#555", bypassed: "#555" };
const IDLE = { state: "idle" };

const badges = new WeakMap(); // HiLo Model Patch node -> element
const outside = new WeakMap(); // subgraph node -> element
const waiting = new WeakMap(); // workflow -> Map(id -> state) of runs that ended while its tab was not in front
const nowhere = {};
let settled; // the workflow that is in front, and was so a moment ago: its nodes are there
let run; // the server's, {workflow, running: Map(id -> state), cached, executed, told: Set(id)}; ids as in "12:3"

/** Gives a HiLo Model Patch node, or a subgraph around one, its badge. */
export function addBadge(node) {
  const element = document.createElement("div");
  element.className = "hilo-token-badge";
  element.setAttribute("role", "status");
  element.style.cssText = "font:12px sans-serif;padding:4px 8px;border-radius:6px;overflow:auto;white-space:pre-line;box-sizing:border-box";
  const widget = node.addDOMWidget("hilo_badge", "hilo_badge", element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => 84,
    getMaxHeight: () => 124,
  });
  widget.serialize = false;
  if (node.subgraph) return element;
  badges.set(node, element);
  wordsLoaded.then(drawAll);
  return element;
}

/** The lines of a state. */
function lines({ state, report, message, kept, total }) {
  const share = ((part) => (part ? (100 * part).toFixed(part < 0.1 ? 1 : 0) : ""))((report ?? { kept }).kept / (report ?? { total }).total);
  if (state === "running") return [kept ? say("running_share", { share }) : say("running")];
  if (state === "dense") return [say("dense", { reason: word(report.reason) })];
  if (state === "failed") return [word(message) || say("failed")];
  if (state !== "gain") return [say({ idle: "badge_empty" }[state] ?? state)];
  const steps = report.dense_steps + report.compressed_steps;
  const facts = { now: time(report.seconds), before: time(report.instead_of), speedup: times(report.speedup) };
  return [
    report.speedup && say(report.predicted ? "gain_about" : "gain", facts),
    say("computed", { share }),
    steps > 1 && say(report.dense_steps ? "steps_some" : "steps_all", { steps, dense: report.dense_steps }),
    ...(report.notes ?? []).map(word),
    report.saved_today >= 1 && say("saved_today", { time: time(report.saved_today) }),
  ].filter(Boolean);
}

/** A time as one says it: 0.04 s, 1.3 s, 15 s, 4 min. */
function time(seconds) {
  if (seconds == null) return "";
  if (seconds >= 180) return say("minutes", { n: (seconds / 60).toFixed(0) });
  return say("seconds", { n: seconds.toFixed(seconds >= 9.95 ? 0 : seconds >= 0.95 ? 1 : 2) });
}

/** A speed-up as one says it: 1.8, 11. */
export const times = (speedup) => (speedup == null ? "" : speedup.toFixed(speedup >= 9.95 ? 0 : 1));

/** The workflow in front. */
const here = () => app.extensionManager?.workflow?.activeWorkflow ?? nowhere;

/** [execution id, node] of each badge in the workflow in front; "12:3" is node 3 inside the subgraph of node 12. */
function nodesHere(graph = app.rootGraph ?? app.graph, prefix = "") {
  return (graph?._nodes ?? []).flatMap((node) => [
    ...(badges.has(node) ? [[`${prefix}${node.id}`, node]] : []),
    ...(node.subgraph ? nodesHere(node.subgraph, `${prefix}${node.id}:`) : []),
  ]);
}

/** Each subgraph in front that holds a patch shows that patch's state outside. */
function drawOutside(states) {
  for (const outer of (app.rootGraph ?? app.graph)?._nodes ?? []) {
    if (!outer.subgraph) continue;
    const inner = [...states.keys()].find((id) => id.startsWith(`${outer.id}:`));
    if (!inner) continue;
    if (!outside.has(outer)) {
      outside.set(outer, addBadge(outer));
      outer.setSize?.([outer.size[0], Math.max(outer.size[1], outer.computeSize()[1])]);
    }
    draw(outside.get(outer), outer.mode === 2 || outer.mode === 4 ? { state: "bypassed" } : states.get(inner));
  }
}

/** Puts a state on a badge. */
function draw(element, shown) {
  const text = lines(shown).join("\n");
  if (element.textContent !== text) element.textContent = text;
  element.dataset.state = shown.state;
  element.style.background = COLOURS[shown.state] ?? "#0003";
  element.style.color = shown.state in COLOURS ? "white" : "";
  element.style.opacity = shown.state === "bypassed" ? 0.5 : 1;
}

/** Draws each badge in front. How a run ended is kept in the node, and so in the saved workflow. */
function drawAll() {
  const ended = settled === here() ? waiting.get(settled) : undefined;
  const running = run?.workflow === here() ? run.running : undefined;
  const states = new Map();
  for (const [id, node] of nodesHere()) {
    if (ended?.has(id)) keep(node, ended.get(id));
    ended?.delete(id);
    const off = node.mode === 2 || node.mode === 4;
    const shown = off ? { state: "bypassed" } : (running?.get(id) ?? node.properties?.hilo_state ?? IDLE);
    draw(badges.get(node), shown);
    states.set(id, shown);
  }
  drawOutside(states);
}

function keep(node, state) {
  (node.properties ??= {}).hilo_state = state;
}

/** Notes how a node's run ended, in the workflow that runs. */
function note(id, state) {
  const workflow = run?.workflow ?? here();
  run?.running.delete(id);
  const found = workflow === here() && nodesHere().find(([other]) => other === id);
  if (found) keep(found[1], state);
  else if (workflow !== here()) waiting.set(workflow, (waiting.get(workflow) ?? new Map()).set(id, state));
  drawAll();
}

function started() {
  const running = new Map(nodesHere().map(([id]) => [id, { state: "running" }]));
  run = { workflow: here(), running, cached: new Set(), executed: new Set(), told: new Set() };
  drawAll();
}

/** The end of a run, for the nodes that nothing was told of. state: what they are now, by id; as before if none. */
function ended(state) {
  const last = run;
  for (const id of last ? [...last.running.keys()] : []) {
    const now = state(id);
    if (now) note(id, now);
  }
  run = undefined;
  drawAll();
}

/** Follows the server's runs. */
export function showReports() {
  const on = (name, follow) => api.addEventListener(name, ({ detail }) => follow(detail ?? {}));
  on("execution_start", started);
  on("execution_cached", ({ nodes }) => nodes?.forEach((id) => run?.cached.add(String(id))));
  on("executing", (detail) => run?.executed.add(String(detail?.node ?? detail)));
  on("hilo-token.state", ({ node, ...state }) => {
    if (state.state !== "running") return note(String(node), state);
    run?.running.set(String(node), state.reason ? { state: "dense", report: state } : state);
    drawAll();
  });
  on("hilo-token.report", ({ node, ...report }) => {
    run?.told.add(String(node));
    note(String(node), { state: report.reason ? "dense" : "gain", report });
  });
  // nothing was sampled with a node that ran; one from the cache, or of another branch, is as it was
  on("execution_success", () => ended((id) => (run.executed.has(id) && !run.cached.has(id) ? IDLE : undefined)));
  on("execution_interrupted", () => ended(() => ({ state: "cancelled" })));
  on("execution_error", ({ node_id, exception_message, exception_type }) => {
    const ours = exception_type?.endsWith("HiLoError") ? exception_message?.trim() : "";
    run?.told.forEach((id) => run.running.set(id, { state: "running" })); // what fails after its sampling has no gain
    ended((id) => ({ state: "failed", message: String(node_id) === id ? exception_message?.trim() : ours }));
  });
  let before;
  setInterval(() => {
    [settled, before] = [before === here() ? before : undefined, here()];
    if (!document.hidden) drawAll();
  }, WATCH_MS);
}
