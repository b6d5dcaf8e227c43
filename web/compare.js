/**
 * Before and after under a node: a slider from one picture to another, and "hold to see the first". HiLo Masked Decode
 * shows the original and the result; HiLo Compare shows dense and, by name, each preset and its difference.
 */
import { api } from "../../scripts/api.js";
import { fit, outputOf } from "./said.js";
import { say, wordsLoaded } from "./words.js";

const WATCH_MS = 400;
const LAYER = "position:absolute;inset:0;width:100%;height:100%;object-fit:contain;pointer-events:none";
const comparers = new Set();

/** One comparer: two pictures over each other, the upper one cut at the slider. */
class Comparer {
  constructor(node) {
    this.node = node;
    this.share = 50;
    this.element = document.createElement("div");
    this.element.className = "hilo-compare";
    this.element.style.cssText = "display:none;flex-direction:column;gap:4px;width:100%;height:100%;overflow:hidden;box-sizing:border-box";
    this.stage = document.createElement("div");
    this.stage.style.cssText = "position:relative;flex:1;min-height:0;width:100%;cursor:ew-resize;background:#0003;border-radius:4px;overflow:hidden";
    [this.after, this.before] = ["after", "before"].map((name) => {
      const picture = new Image();
      picture.className = `hilo-compare-${name}`;
      picture.draggable = false;
      picture.style.cssText = LAYER;
      this.stage.append(picture);
      return picture;
    });
    this.line = document.createElement("div");
    this.line.style.cssText = "position:absolute;top:0;bottom:0;width:2px;background:#fff;box-shadow:0 0 3px #000;pointer-events:none";
    this.stage.append(this.line);
    this.range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 50 });
    this.hold = document.createElement("button");
    this.hold.type = "button";
    this.hold.style.cssText = "font:12px sans-serif;padding:2px 8px;border-radius:4px;cursor:pointer;white-space:nowrap";
    const row = document.createElement("div");
    row.style.cssText = "display:flex;gap:8px;align-items:center";
    this.range.style.cssText = "flex:1;min-width:0";
    row.append(this.range, this.hold);
    this.choices = document.createElement("div");
    this.choices.className = "hilo-compare-choices";
    this.choices.style.cssText = "display:none;flex-wrap:wrap;gap:4px";
    this.element.append(this.stage, row, this.choices);
    this.stage.addEventListener("pointermove", (event) => this.point(event));
    this.range.addEventListener("input", () => this.show(Number(this.range.value)));
    for (const name of ["pointerdown", "keydown"]) this.hold.addEventListener(name, () => this.show(100, false));
    for (const name of ["pointerup", "pointerleave", "keyup", "blur"]) this.hold.addEventListener(name, () => this.show(this.share));
    this.show(50);
    wordsLoaded.then(() => this.name());
  }

  /** What the parts are called, for all who cannot see them too. */
  name() {
    const names = this.names;
    this.hold.textContent = say(names ? "hold_dense" : "hold_original");
    this.range.setAttribute("aria-label", say(names ? "compare_dense" : "compare"));
    this.before.alt = names ? names[0] : say("original");
    this.after.alt = names ? names[this.chosen] : say("result");
  }

  /** A button for each picture that may lie over the first. */
  offer(names) {
    this.names = names;
    this.chosen = 1;
    this.choices.replaceChildren();
    this.choices.style.display = names?.length > 2 ? "flex" : "none";
    if (names?.length > 2) {
      names.slice(1).forEach((name, index) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        button.style.cssText = "font:12px sans-serif;padding:2px 8px;border-radius:4px;cursor:pointer";
        button.addEventListener("click", () => this.choose(index + 1));
        this.choices.append(button);
      });
    }
    this.choose(1);
  }

  /** Lays that picture over the first. */
  choose(number) {
    this.chosen = number;
    this.after.src = addressOf(this.drawn[number]);
    [...this.choices.children].forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index + 1 === number));
      button.style.fontWeight = index + 1 === number ? "bold" : "";
    });
    this.name();
  }

  point(event) {
    const box = this.stage.getBoundingClientRect();
    if (box.width) this.show((100 * (event.clientX - box.left)) / box.width);
  }

  /** Shows so many percent, from the left, of the original. */
  show(share, keep = true) {
    share = Math.min(100, Math.max(0, share));
    if (keep) this.range.value = this.share = share;
    this.before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    this.line.style.left = `calc(${share}% - 1px)`;
    this.line.style.display = share > 0 && share < 100 ? "" : "none";
  }

  /** Takes the pictures of the last run; there are none before it. */
  refresh() {
    const output = this.output ?? outputOf(this.node);
    const pictures = output?.hilo_compare;
    if (!pictures?.[1] || pictures === this.drawn) return;
    this.drawn = pictures;
    this.before.src = addressOf(pictures[0]);
    this.offer(output.hilo_compare_names);
    this.after.onload = () => {
      this.ratio = this.after.naturalHeight / this.after.naturalWidth;
      this.element.style.display = "flex";
      this.stage.style.aspectRatio = String(1 / this.ratio);
      fit(this.node);
    };
  }

  /** Its height in a node of that width. */
  height() {
    const rows = this.names?.length > 2 ? 26 * Math.ceil(((this.names.length - 1) * 130) / this.node.size[0]) : 0;
    return this.ratio ? Math.min(700, this.ratio * (this.node.size[0] - 30)) + 34 + rows : 0;
  }
}

/** Where the host serves a picture. */
const addressOf = (picture) => api.apiURL(`/view?${new URLSearchParams(picture)}`);

/** Gives a node that shows two pictures its comparer. */
export function addComparer(node) {
  const comparer = new Comparer(node);
  const widget = node.addDOMWidget("hilo_compare", "hilo_compare", comparer.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => comparer.height(),
    getMaxHeight: () => comparer.height(),
  });
  widget.serialize = false;
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    if (output?.hilo_compare) comparer.output = output;
    comparer.refresh();
  };
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    comparers.delete(comparer);
  };
  comparers.add(comparer);
}

/** Follows what no callback tells: a workflow that comes to the front again. */
export function watchComparers() {
  setInterval(() => document.hidden || comparers.forEach((comparer) => comparer.refresh()), WATCH_MS);
}
