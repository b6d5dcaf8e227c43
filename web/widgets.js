/** Widgets that follow the graph: folded ones, and those of HiLo Model Patch that a plan overrides. */
import { app } from "../../scripts/app.js";
import { say, wordsLoaded } from "./words.js";

const WATCH_MS = 400;
const followed = new Set();

/** Whether the front end draws nodes with Vue, which folds advanced inputs itself. */
const vue = () => Boolean(app.extensionManager?.setting?.get("Comfy.VueNodes.Enabled"));

/** Folds a node's advanced widgets in the canvas renderer too, behind one button. */
export function foldAdvanced(node) {
  const folded = (node.widgets ?? []).filter((widget) => widget.options?.advanced || widget.advanced);
  if (!folded.length) return;
  for (const widget of folded) widget.advanced = true;
  if (vue()) return;
  const toggle = () => {
    node.toggleAdvanced?.();
    update();
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
  };
  const button = node.addWidget("button", "hilo_advanced", undefined, toggle, { serialize: false });
  button.serialize = false;
  const update = () => {
    button.hidden = vue();
    button.label = say(node.showAdvanced ? "less" : "more");
    // a canvas renderer that keeps room for what it does not draw is told that there is none to keep
    for (const widget of folded) widget.computeSize = node.showAdvanced || vue() ? undefined : () => [0, -4];
  };
  follow(node, update);
}

/** Says on HiLo Model Patch who decides: the plan, where one is wired. */
export function followPlan(node) {
  const own = (name) => node.widgets?.find((widget) => widget.name === name);
  follow(node, () => {
    const [preset, speedup] = [own("preset"), own("speedup")];
    const planned = node.inputs?.find((input) => input.name === "plan")?.link != null;
    if (!preset || !speedup) return;
    preset.hiloLabel ??= preset.label ?? preset.name;
    const label = planned ? say(preset.value === "off" ? "plan_off" : "plan_decides") : preset.hiloLabel;
    if (preset.label !== label) preset.label = label;
    speedup.disabled = planned;
    (speedup.options ??= {}).disabled = planned;
  });
}

function follow(node, update) {
  const one = { node, update };
  followed.add(one);
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    followed.delete(one);
  };
  wordsLoaded.then(update);
}

/** Follows what no callback tells: links, renderers, loaded workflows. */
export function watchWidgets() {
  setInterval(() => {
    if (document.hidden) return;
    for (const { node, update } of followed) {
      const before = JSON.stringify(node.widgets?.map(({ label, disabled, hidden }) => [label, disabled, hidden]));
      update();
      const now = JSON.stringify(node.widgets?.map(({ label, disabled, hidden }) => [label, disabled, hidden]));
      if (now !== before) node.setDirtyCanvas?.(true, true);
    }
  }, WATCH_MS);
}
