/** HiLo-Token on the canvas: a live token map, the gain of the last run, before and after. Everything works without it. */
import { app } from "../../scripts/app.js";
import { addBadge, showReports } from "./badge.js";
import { addComparer, watchComparers } from "./compare.js";
import { bringPhoto } from "./demo.js";
import { addSaid, watchSaid } from "./said.js";
import { addTokenMap, watchTokenMaps } from "./token_map.js";
import { foldAdvanced, followPlan, watchWidgets } from "./widgets.js";

const WIDGETS = {
  HiLoTokenSelect: [foldAdvanced, addTokenMap],
  HiLoModelPatch: [foldAdvanced, followPlan, addBadge],
  HiLoMaskDilate: [foldAdvanced],
  HiLoFit: [foldAdvanced, addSaid],
  HiLoMaskedDecode: [foldAdvanced, addSaid, addComparer],
  HiLoCompare: [addComparer],
  HiLoCompareAdvanced: [addComparer],
};

app.registerExtension({
  name: "hilo-token.canvas",
  setup() {
    showReports();
    watchTokenMaps();
    watchComparers();
    watchSaid();
    watchWidgets();
  },
  async beforeConfigureGraph(workflow) {
    try {
      await bringPhoto(workflow);
    } catch (error) {
      console.warn("HiLo-Token: the demo's photo could not be uploaded.", error);
    }
  },
  nodeCreated(node) {
    for (const add of WIDGETS[node.comfyClass] ?? []) {
      try {
        add(node);
      } catch (error) {
        console.warn("HiLo-Token: a part of the node is missing.", error);
      }
    }
  },
});
