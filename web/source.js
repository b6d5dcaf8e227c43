/** Where a node's picture and mask come from. */

const CHANNELS = { LoadImage: () => "alpha", LoadImageMask: (node) => valueOf(node, "channel") };

/** @returns the value of a widget by name */
export function valueOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name)?.value;
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
  const plain = picture.node.type === "LoadImage" && picture.slot === 0 && isMask(hole);
  if (!plain) return key ? { ask: { key } } : { hint: "not_executed" };
  const channel = CHANNELS[hole.node.type](hole.node) ?? "alpha";
  const [image, mask] = [picture, hole].map((from) => String(valueOf(from.node, "image") ?? ""));
  return { ask: { image, mask, channel, run: key } };
}

function isMask({ node, slot }) {
  return (node.type === "LoadImage" && slot === 1) || (node.type === "LoadImageMask" && slot === 0);
}
