/** Words of the pack in the user's language, from `locales/<language>/main.json` by way of the host. */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

let all = {};
const loaded = api
  .fetchApi("/i18n")
  .then((answer) => answer.json())
  .then((words) => (all = words))
  .catch(() => {});

/** Resolves when the words are there, or will not come. */
export const wordsLoaded = loaded;

const language = () => app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";

/**
 * What the server says, in the user's language: a text, or one with its values apart, `{text, values}`. What has no
 * translation stays English.
 */
export function word(said) {
  const { text, values = [] } = typeof said === "object" && said ? said : { text: String(said ?? "") };
  const template = all[language()]?.hiloTokenSaid?.[text] ?? text;
  let next = 0;
  return values.length ? template.replace(/\{(\d*)\}/g, (_, at) => word(values[at || next++])) : template;
}

/**
 * The text for a key, with {name} replaced.
 * @param {string} key
 * @param {Record<string, string | number>} facts
 */
export function say(key, facts = {}) {
  const text = all[language()]?.hiloToken?.[key] ?? all.en?.hiloToken?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => facts[name] ?? "");
}
