// Elements. Text is always a text node: nothing here, or anywhere on this page, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` members are listeners, others attributes; false, null and undefined ones are left out. */
export function h(tag, members = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(members)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export const byId = (id) => document.getElementById(id);

let announced = 0;

/** Have a screen reader say it, once what it says now is said. */
export function announce(text) {
  const place = byId("announcer");
  place.textContent = "";
  clearTimeout(announced);
  announced = setTimeout(() => {
    place.textContent = text;
  }, 60); // the same words twice are said twice
}

/** A button that copies what `text()` gives, and says so. */
export function copyButton(text, label = "Copy") {
  const words = h("span", {}, label);
  const button = h("button", { type: "button", class: "mini", onclick: copy }, icon("copy"), words);
  async function copy() {
    const done = await copied(text());
    words.textContent = done ? "Copied" : "Not allowed";
    announce(words.textContent);
    setTimeout(() => {
      words.textContent = label;
    }, 1600);
  }
  return button;
}

export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no clipboard without https, or not for this page
  }
}

// --- code in colours ---

const JSON_TOKENS =
  /("(?:[^"\\]|\\.)*"(?=\s*:))|("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
const PYTHON_TOKENS =
  /(#[^\n]*)|("(?:[^"\\\n]|\\.)*")|\b(\d+(?:\.\d+)?)\b|\b(import|from|for|in|if|elif|else|print|None|True|False|or)\b/g;
const COLOURS = {
  json: [JSON_TOKENS, ["key", "string", "number", "word"]],
  python: [PYTHON_TOKENS, ["comment", "string", "number", "word"]],
};
const COLOURED = 60_000; // characters; longer texts stay plain

/** Text nodes and spans of `text` in a language. */
export function coloured(text, language) {
  if (!(language in COLOURS) || text.length > COLOURED) return [text];
  const [tokens, names] = COLOURS[language];
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(tokens)) {
    const name = names[found.slice(1).findIndex((group) => group !== undefined)];
    parts.push(text.slice(end, found.index), h("span", { class: `t-${name}` }, found[0]));
    end = found.index + found[0].length;
  }
  return [...parts, text.slice(end)];
}
