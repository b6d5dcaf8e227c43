/** HiLo-Token on the canvas: a live token map and the gain of the last run. Everything works without it too. */
import { app } from "../../scripts/app.js";
import { addBadge, showReports } from "./badge.js";
import { addTokenMap, watchTokenMaps } from "./token_map.js";

const WIDGETS = { HiLoTokenSelect: addTokenMap, HiLoModelPatch: addBadge };

app.registerExtension({
  name: "hilo-token.canvas",
  setup() {
    showReports();
    watchTokenMaps();
  },
  nodeCreated(node) {
    try {
      WIDGETS[node.comfyClass]?.(node);
    } catch (error) {
      console.warn("HiLo-Token: the node has no preview.", error);
    }
  },
});
