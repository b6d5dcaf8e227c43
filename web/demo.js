/** The demo's photo: put into the host's input folder, by the host's own upload, when the demo template is opened. */
import { api } from "../../scripts/api.js";

const NODE = "HiLoDemoModel";
const PHOTO = "hilo_demo.webp";

/** Uploads the photo once a workflow with the demo's model names it. The host keeps one copy of the same file. */
export async function bringPhoto(workflow) {
  const nodes = workflow?.nodes ?? [];
  const waiting = nodes.filter((node) => node.type === "LoadImage" && node.widgets_values?.[0] === PHOTO);
  if (!waiting.length || !nodes.some((node) => node.type === NODE)) return;
  const body = new FormData();
  body.append("image", await (await fetch(new URL(`./demo/${PHOTO}`, import.meta.url))).blob(), PHOTO);
  const { name } = await (await api.fetchApi("/upload/image", { method: "POST", body })).json();
  // another picture of that name is kept, and ours has got another name
  for (const node of waiting) if (name) node.widgets_values[0] = name;
}
