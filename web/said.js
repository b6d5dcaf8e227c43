/** What a node says of its last run, under its widgets: whole sentences, in the user's language. */
import { app } from "../../scripts/app.js";
import { wordsLoaded, word } from "./words.js";

const WATCH_MS = 400;
const MARGIN = 10; // that the canvas renderer takes from a widget, above and below
const told = new Set();

/** What a node gave in its last run, as the front end remembers it for the workflow in front. */
export function outputOf(node) {
  const graph = node.graph;
  const outer = graph && graph !== (app.rootGraph ?? app.graph) ? graph.id : undefined;
  return app.nodeOutputs?.[outer ? `${outer}:${node.id}` : node.id];
}

/** Lets a node be as high as what it holds. */
export function fit(node) {
  const height = node.computeSize?.()[1];
  if (height && height > node.size[1]) node.setSize([node.size[0], height]);
  node.setDirtyCanvas?.(true, true);
}

/** Gives a node the place for its sentences; it takes no room before there are some. */
export function addSaid(node) {
  const text = document.createElement("div");
  text.className = "hilo-said";
  text.setAttribute("role", "status");
  text.style.cssText = "font:12px sans-serif;padding:4px;overflow-wrap:break-word";
  const element = document.createElement("div");
  element.style.cssText = "width:100%;overflow:hidden";
  element.append(text);
  const height = () => (text.textContent ? Math.max(24, text.offsetHeight) + 2 * MARGIN : 0);
  const widget = node.addDOMWidget("hilo_said", "hilo_said", element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: height,
    getMaxHeight: height,
  });
  widget.serialize = false;
  const one = { node, text };
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    one.output = output;
  };
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    told.delete(one);
  };
  told.add(one);
}

function refresh(one) {
  const said = (one.output ?? outputOf(one.node))?.hilo_said;
  const text = (said ?? []).map(word).join(" ");
  if (one.text.textContent !== text) one.text.textContent = text;
  // its lines are known once it is drawn, and change with the node's width
  if (one.height === one.text.offsetHeight) return;
  one.height = one.text.offsetHeight;
  fit(one.node);
}

/** Follows what no callback tells: the language, a workflow that comes to the front again, the node's width. */
export async function watchSaid() {
  await wordsLoaded;
  setInterval(() => document.hidden || told.forEach(refresh), WATCH_MS);
}
