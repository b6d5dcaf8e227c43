/** Where a node's picture and mask come from. */

const GROW = ["dilation", "mode", "black", "white", "fill_holes", "drop_specks", "token_size"];
const CHANNELS = { LoadImage: () => "alpha", LoadImageMask: (node) => valueOf(node, "channel") };

/** @returns the value of a widget by name */
export function valueOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name)?.value;
}

/** @returns widget values by name */
export function valuesOf(node, names) {
  const own = (node.widgets ?? []).filter((widget) => names.includes(widget.name));
  return Object.fromEntries(own.map((widget) => [widget.name, widget.value]));
}

/** The node and output slot behind an input, through reroutes; undefined where nothing is connected. */
function origin(node, name) {
  let number = node.inputs?.find((input) => input.name === name)?.link;
  for (let hops = 0; hops < 50 && number != null; hops++) {
    const links = node.graph?.links;
    const link = links?.get ? links.get(number) : links?.[number];
    const from = link && node.graph.getNodeById(link.origin_id);
    if (!from) return undefined;
    if (from.type !== "Reroute") return { node: from, slot: link.origin_slot };
    number = from.inputs?.[0]?.link;
  }
  return undefined;
}

/**
 * What the server needs to find picture and mask: names of files in the host's folders, or the key of an executed run.
 * @returns {{ask: object} | {hint: string}}
 */
export function findSource(node, key) {
  const picture = origin(node, "image");
  const hole = origin(node, "mask");
  if (!picture || !hole) return { hint: "unconnected" };
  const grower = hole.node.type === "HiLoMaskDilate" && hole.node.mode === 0 ? hole : undefined;
  const file = grower ? origin(grower.node, "mask") : hole;
  const plain = picture.node.type === "LoadImage" && picture.slot === 0 && file && isMask(file);
  if (!plain) return key ? { ask: { key } } : { hint: "not_executed" };
  const channel = CHANNELS[file.node.type](file.node) ?? "alpha";
  const [image, mask] = [picture, file].map((from) => String(valueOf(from.node, "image") ?? ""));
  const ask = { image, mask, channel, run: key };
  return { ask: grower ? { ...ask, grow: valuesOf(grower.node, GROW), grown: grower.slot === 1 } : ask };
}

/** The node that loads an input's picture, if it comes straight from a file. */
export function fileNode(node, name) {
  const from = origin(node, name);
  return from?.node.type === "LoadImage" ? from.node : undefined;
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

function isMask({ node, slot }) {
  return (node.type === "LoadImage" && slot === 1) || (node.type === "LoadImageMask" && slot === 0);
}
