/** The live token map under HiLo Token Select. */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { times } from "./badge.js";
import { fileNode, findSource, target, valuesOf } from "./source.js";
import { say, word, wordsLoaded } from "./words.js";

const WATCH_MS = 400;
const LONGEST = 512;
const OPACITY = 0.4;
const WIDGETS = ["preset", "speedup", "margin", "detail", "context", "budget"];
const CELL = { "low 2x2": 2, "low 4x4": 4, "low 8x8": 8 };

/** One map: asks the server when the node's settings or its source have changed, and paints the answer. */
class TokenMap {
  constructor(node) {
    this.node = node;
    this.hidden = new Set(); // kinds whose colour is switched off
    this.canvas = document.createElement("canvas");
    this.canvas.className = "hilo-token-map";
    this.canvas.setAttribute("role", "img");
    this.canvas.style.cssText = "flex:1;min-height:0;width:100%;object-fit:contain;background:#0003;border-radius:4px";
    this.legend = document.createElement("div");
    this.legend.className = "hilo-token-legend";
    this.legend.setAttribute("role", "group");
    this.legend.style.cssText = "display:flex;flex-wrap:wrap;gap:4px;padding:4px 0;font:11px sans-serif";
    this.text = document.createElement("div");
    this.text.className = "hilo-token-text";
    this.text.setAttribute("role", "status");
    this.text.style.cssText = "font:12px sans-serif;min-height:30px;padding:4px;opacity:.85;overflow:hidden";
    this.element = document.createElement("div");
    this.element.style.cssText = "display:flex;flex-direction:column;width:100%;height:100%;overflow:hidden";
    this.element.append(this.canvas, this.legend, this.text);
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => this.describe());
    this.canvas.addEventListener("dblclick", () => this.edit());
  }

  /** Opens the host's mask editor for the picture. */
  edit() {
    const loader = fileNode(this.node);
    if (!loader) return;
    app.canvas.selectNode ? app.canvas.selectNode(loader) : app.canvas.selectItems([loader]);
    app.extensionManager.command.execute("Comfy.MaskEditor.OpenMaskEditor");
  }

  /** The map's height, in a node of that width, by the picture's ratio. */
  height() {
    const ratio = this.plan ? this.plan.size[1] / this.plan.size[0] : 0.4;
    return Math.min(900, ratio * (this.node.size[0] - 30)) + (this.plan ? 92 : 40);
  }

  /** A chip for each kind that is in the picture: its colour, its name, and a switch for it. */
  chips() {
    const { names, colours, kinds } = this.plan;
    const there = new Set(kinds);
    const shown = names.map((name, kind) => ({ name, kind })).filter(({ kind }) => there.has(kind));
    this.legend.setAttribute("aria-label", say("legend"));
    this.legend.replaceChildren(
      ...shown.map(({ name, kind }) => {
        const chip = document.createElement("button");
        chip.type = "button";
        chip.dataset.kind = name;
        chip.title = say(this.represented(name) ? "represented" : name);
        chip.setAttribute("aria-pressed", String(!this.hidden.has(name)));
        chip.style.cssText = "display:flex;align-items:center;gap:4px;padding:1px 6px;border:0;border-radius:8px;background:#8883;color:inherit;cursor:pointer;font:inherit";
        chip.style.opacity = this.hidden.has(name) ? 0.4 : 1;
        const colour = document.createElement("span");
        colour.style.cssText = `width:9px;height:9px;border-radius:2px;border:1px solid #8888;background:rgb(${colours[kind]})`;
        chip.append(colour, say(`chip_${this.represented(name) ? "represented" : name}`));
        chip.addEventListener("click", () => {
          if (!this.hidden.delete(name)) this.hidden.add(name);
          this.paint();
        });
        return chip;
      }),
    );
  }

  /** Whether tokens of that kind are not seen themselves but stood for by a coarse sample. */
  represented(name) {
    return name === "dropped" && "low native" in this.plan.counts;
  }

  /** The key of the last run of this node, which is kept in it: the server sends none for a node from its cache. */
  get key() {
    return this.node.properties?.hilo_key;
  }

  set key(key) {
    (this.node.properties ??= {}).hilo_key = key;
  }

  /** Asks again when anything that matters is not as it was. One request at a time; the last state wins. */
  async refresh() {
    const source = findSource(this.node, this.key);
    const values = this.values();
    const state = JSON.stringify([source, values]);
    if (state === this.state && this.plan && this.report !== this.shown) this.describe();
    if (state === this.state || this.busy) return;
    this.busy = true;
    try {
      if (source.hint) this.empty(source.hint);
      else await this.ask(source.ask, values);
      this.state = state;
    } catch {
      this.empty("offline");
    } finally {
      this.busy = false;
    }
    if (JSON.stringify([findSource(this.node, this.key), this.values()]) !== state) queueMicrotask(() => this.refresh());
  }

  /** The node's own widget values by name. */
  values() {
    return valuesOf(this.node, WIDGETS);
  }

  /** The last report of the patch that takes the plan, if it had a gain. */
  get report() {
    const report = target(this.node, 0, "HiLoModelPatch")?.properties?.hilo_state?.report;
    return report?.speedup && report.model_speedup ? report : undefined;
  }

  async ask(source, values) {
    const from = JSON.stringify(source);
    const photo = from !== this.from || !this.photo;
    const answer = await api.fetchApi("/hilo_token/plan", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...source, values, photo }),
    });
    const plan = await answer.json();
    if (plan.hint) return this.empty(plan.hint, plan);
    if (!answer.ok) throw new Error(plan.error);
    if (plan.photo) {
      this.photo = new Image();
      this.photo.src = `data:image/jpeg;base64,${plan.photo}`;
      await this.photo.decode();
      this.from = from;
    }
    plan.kinds = Uint8Array.from(atob(plan.kinds), (letter) => letter.charCodeAt(0));
    this.plan = plan;
    this.paint();
    this.describe();
  }

  /** A hint in place of the map. */
  empty(hint, facts = {}) {
    this.plan = undefined;
    this.photo = undefined;
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.legend.replaceChildren();
    this.text.textContent = say(hint, { ...facts, message: word(facts.message), reason: word(facts.reason) });
    this.canvas.setAttribute("aria-label", this.text.textContent);
  }

  paint() {
    const { size } = this.plan;
    const scale = Math.min(1, LONGEST / Math.max(...size));
    const [width, height] = size.map((side) => Math.max(1, Math.round(side * scale)));
    Object.assign(this.canvas, { width, height });
    this.layer ??= document.createElement("canvas");
    Object.assign(this.layer, { width, height });
    this.layer.getContext("2d").putImageData(this.overlay(width, height), 0, 0);
    const pen = this.canvas.getContext("2d");
    pen.drawImage(this.photo, 0, 0, width, height);
    pen.drawImage(this.layer, 0, 0);
    this.chips();
    if (this.ratio !== height / width) {
      this.ratio = height / width;
      this.canvas.style.aspectRatio = String(1 / this.ratio);
      const wanted = this.node.computeSize?.()[1];
      if (wanted) this.node.setSize([this.node.size[0], wanted]);
      this.node.setDirtyCanvas?.(true, true);
    }
  }

  /** The tokens as pixels, each in the colour of its kind, cells with a darker edge. One pass, however many tokens. */
  overlay(width, height) {
    const { size, rows, columns, kinds, names, colours, token } = this.plan;
    const layer = new ImageData(width, height);
    const steps = names.map((name) => CELL[name] ?? 1);
    // the last tokens may reach over the border
    const side = (token * width) / size[0];
    const along = (length, tokens) =>
      Array.from({ length }, (_, pixel) => {
        const token = Math.min(tokens - 1, Math.floor(pixel / side));
        return [token, pixel === 0 || token !== Math.min(tokens - 1, Math.floor((pixel - 1) / side))];
      });
    const [across, down] = [along(width, columns), along(height, rows)];
    let at = 0;
    for (const [y, top] of down) {
      for (const [x, left] of across) {
        const kind = kinds[y * columns + x];
        const edge = (left && x % steps[kind] === 0) || (top && y % steps[kind] === 0);
        const [red, green, blue] = colours[kind];
        const shade = edge ? 0.6 : 1;
        const seen = !this.hidden.has(names[kind]);
        layer.data[at++] = red * shade;
        layer.data[at++] = green * shade;
        layer.data[at++] = blue * shade;
        layer.data[at++] = seen ? 255 * OPACITY : 0;
      }
    }
    return layer;
  }

  /** The plan in one line. */
  describe() {
    if (!this.plan) return;
    const { kept, total, speedup, family, notes } = this.plan;
    const share = ((100 * kept) / total).toFixed(kept < total / 10 ? 1 : 0);
    const report = (this.shown = this.report);
    const same = report && report.kept === kept && report.total === total;
    // a run tells how fast this model is here; other settings are as much faster or slower as the cost model says
    const facts = { share, family, speedup: times(same ? report.speedup : report ? (speedup * report.speedup) / report.model_speedup : speedup) };
    const words = !report ? "summary" : same && !report.predicted ? "summary_measured" : "summary_about";
    this.text.textContent = [say(words, facts), ...notes.map(word)].filter(Boolean).join("\n");
    this.canvas.setAttribute("aria-label", this.text.textContent);
  }

  /** Names the kind of the token under the pointer. */
  hover(event) {
    if (!this.plan) return;
    const { rows, columns, kinds, names, counts, size, token } = this.plan;
    const box = this.canvas.getBoundingClientRect();
    const fit = Math.min(box.width / size[0], box.height / size[1]);
    const at = [event.clientX - box.left - (box.width - size[0] * fit) / 2, event.clientY - box.top - (box.height - size[1] * fit) / 2];
    const side = token * fit;
    const [x, y] = at.map((v) => Math.floor(v / side));
    if (x < 0 || y < 0 || x >= columns || y >= rows) return this.describe();
    const name = names[kinds[y * columns + x]];
    const represented = name === "dropped" && "low native" in counts;
    this.text.textContent = represented ? say("represented") : say("count", { name: say(name), count: counts[name] ?? 0 });
  }
}

const maps = new Set();

/** Gives a HiLo Token Select node its map. */
export function addTokenMap(node) {
  const map = new TokenMap(node);
  const widget = node.addDOMWidget("hilo_map", "hilo_map", map.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => map.height(),
    getMaxHeight: () => map.height(),
  });
  widget.serialize = false;
  for (const own of node.widgets) {
    const before = own.callback;
    own.callback = function (...given) {
      const result = before?.apply(this, given);
      map.refresh();
      return result;
    };
  }
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    if (output?.hilo_key?.[0]) map.key = output.hilo_key[0];
    map.refresh();
  };
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    maps.delete(map);
  };
  maps.add(map);
}

/** Follows what no callback tells: other nodes' pictures, undo, loaded workflows. */
export async function watchTokenMaps() {
  await wordsLoaded;
  api.addEventListener("execution_error", ({ detail }) => {
    const failed = [...maps].find((map) => String(map.node.id) === String(detail.node_id).split(":").pop());
    if (failed && detail.node_type === "HiLoTokenSelect") failed.text.textContent = word(detail.exception_message.trim());
  });
  setInterval(() => document.hidden || maps.forEach((map) => map.refresh()), WATCH_MS);
}
