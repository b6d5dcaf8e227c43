/** Where a node's picture and mask come from. */

const FILES = ["LoadImage", "LoadImageMask"];
const MOST_STEPS = 20;
const NEVER = 2; // modes of a node
const BYPASS = 4;

/** @returns widget values by name */
export function valuesOf(node, names) {
  const own = (node.widgets ?? []).filter((widget) => names.includes(widget.name));
  return Object.fromEntries(own.map((widget) => [widget.name, widget.value]));
}

/** The node and output slot behind an input, through reroutes and bypassed nodes; undefined where there is none. */
function origin(node, input) {
  for (let hops = 0; hops < 50 && input?.link != null; hops++) {
    const links = node.graph?.links;
    const link = links?.get ? links.get(input.link) : links?.[input.link];
    const from = link && node.graph.getNodeById(link.origin_id);
    if (!from || from.mode === NEVER) return undefined;
    if (from.type !== "Reroute" && from.mode !== BYPASS) return { node: from, slot: link.origin_slot };
    const passed = from.type === "Reroute" ? undefined : from.outputs[link.origin_slot].type;
    input = from.inputs?.find((one) => !passed || one.type === passed);
  }
  return undefined;
}

const inputOf = (node, name) => node.inputs?.find((input) => input.name === name);

/** What is behind an input, as the server follows it: {node, slot, inputs}; undefined where it does not end in files. */
function step(node, input, left = MOST_STEPS) {
  const from = origin(node, input);
  if (!from || !left) return undefined;
  const saved = (from.node.widgets ?? []).filter((widget) => widget.serialize !== false && widget.options?.serialize !== false);
  const inputs = Object.fromEntries(saved.map((widget) => [widget.name, widget.value]).filter(([, value]) => Object(value) !== value));
  const found = { node: from.node.type, slot: from.slot, inputs };
  if (FILES.includes(found.node)) return found;
  const linked = (from.node.inputs ?? []).filter((one) => one.link != null);
  for (const one of linked) if (!(inputs[one.name] = step(from.node, one, left - 1))) return undefined;
  return linked.length ? found : undefined;
}

/**
 * What the server needs to find picture and mask: how they come from files in the host's folders, or the key of an
 * executed run.
 * @returns {{ask: object} | {hint: string}}
 */
export function findSource(node, key) {
  const inputs = ["image", "mask"].map((name) => inputOf(node, name));
  if (!inputs.every((input) => origin(node, input))) return { hint: "unconnected" };
  const [image, mask] = inputs.map((input) => step(node, input));
  if (image && mask) return { ask: { image, mask, run: key } };
  return key ? { ask: { key } } : { hint: "not_executed" };
}

/** The node that loads an input's picture, if it comes from a file. */
export function fileNode(node, input = inputOf(node, "image"), left = MOST_STEPS) {
  const from = left && origin(node, input)?.node;
  if (!from || from.type === "LoadImage") return from || undefined;
  return (from.inputs ?? []).map((one) => fileNode(from, one, left - 1)).find(Boolean);
}

/** The first node of a type behind an output. */
export function target(node, slot, type) {
  for (const number of node.outputs?.[slot]?.links ?? []) {
    const link = node.graph.links?.get ? node.graph.links.get(number) : node.graph.links?.[number];
    const to = link && node.graph.getNodeById(link.target_id);
    if (to?.type === type) return to;
  }
  return undefined;
}
