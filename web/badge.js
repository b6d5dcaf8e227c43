/** The measured gain of the last run, on HiLo Model Patch. */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { say, wordsLoaded } from "./words.js";

const GOOD = "#2e7d4f";
const DENSE = "#a35200";
const badges = new WeakMap();

/** Gives a HiLo Model Patch node its badge. */
export function addBadge(node) {
  const element = document.createElement("div");
  element.className = "hilo-token-badge";
  element.style.cssText =
    "font:12px sans-serif;padding:4px 8px;border-radius:6px;background:#0003;overflow:auto;white-space:pre-line;box-sizing:border-box";
  wordsLoaded.then(() => (element.textContent ||= say("badge_empty")));
  const widget = node.addDOMWidget("hilo_badge", "hilo_badge", element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => 80,
    getMaxHeight: () => 120,
  });
  widget.serialize = false;
  badges.set(node, element);
}

/** The lines of a report: the gain, the tokens, the seconds, and notes. */
function lines(report) {
  if (report.reason) return [say("dense", report)];
  const seconds = (value) => (value == null ? "–" : value.toPrecision(3));
  const speedup = report.speedup?.toFixed(2);
  const facts = { dense: seconds(report.dense_seconds), compressed: seconds(report.compressed_seconds) };
  return [
    speedup && say(report.predicted ? "predicted" : "measured", { speedup }),
    say("tokens", report),
    report.dense_seconds != null && say("step", facts),
    report.note,
  ].filter(Boolean);
}

/** The node of an execution id such as "12:3", which names a node inside a subgraph. */
function nodeOf(id) {
  const path = String(id).split(":");
  const last = path.pop();
  const root = app.rootGraph ?? app.graph;
  const graph = path.reduce((inside, step) => inside?.getNodeById(Number(step))?.subgraph, root);
  return graph?.getNodeById(Number(last));
}

/** Shows each report that the server sends. */
export function showReports() {
  api.addEventListener("hilo-token.report", ({ detail }) => {
    const element = badges.get(nodeOf(detail.node));
    if (!element) return;
    element.textContent = lines(detail).join("\n");
    element.style.background = detail.reason ? DENSE : GOOD;
    element.style.color = "white";
  });
}
