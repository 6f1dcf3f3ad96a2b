// Markdown as nodes. What a model writes is never HTML: a tag in its answer is shown as the text that it is, a link
// leads to the web or by mail and nowhere else, and a picture is named, not fetched.

import { coloured, copyButton, h } from "./dom.js";

const DEPTH = 12; // quotes and lists within each other; deeper ones are text
const SPAN = 4000; // characters that emphasis may enclose

/** Nodes for a whole text. */
export function markdown(text) {
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"), 0);
}

// --- blocks: each reader takes the lines and an index, and gives a node and the index after it, or null -------------

function blocks(lines, depth) {
  const nodes = [];
  let i = 0;
  while (i < lines.length) {
    if (!lines[i].trim()) {
      i += 1;
      continue;
    }
    const [node, next] = READERS.map((read) => read(lines, i, depth)).find(Boolean) ?? paragraph(lines, i, depth);
    nodes.push(node);
    i = next;
  }
  return nodes;
}

function fence(lines, i) {
  const opened = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/.exec(lines[i]);
  if (!opened) return null;
  let end = i + 1;
  while (end < lines.length && !lines[end].trim().startsWith(opened[1])) end += 1;
  return [codeBlock(lines.slice(i + 1, end).join("\n"), opened[2]), end + 1];
}

/** A block of code with its language and a way to copy it. */
export function codeBlock(text, language = "") {
  const head = h(
    "div",
    { class: "code-head" },
    h("span", {}, language || "text"),
    copyButton(() => text),
  );
  const label = language ? `Code in ${language}` : "Code";
  return h(
    "div",
    { class: "code-block" },
    head,
    h(
      "pre",
      { tabindex: "0", role: "group", "aria-label": label },
      h("code", {}, ...coloured(text, language.toLowerCase().replace(/^py$/, "python"))),
    ),
  );
}

function heading(lines, i) {
  const found = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(lines[i]);
  // The page's own headings are h1 and h2: an answer's begin below them.
  return found && [h(`h${Math.min(6, found[1].length + 2)}`, {}, ...inline(found[2])), i + 1];
}

function rule(lines, i) {
  return /^ {0,3}([-*_])(\s*\1){2,}\s*$/.test(lines[i]) ? [h("hr"), i + 1] : null;
}

function quote(lines, i, depth) {
  if (!lines[i].startsWith(">") || depth >= DEPTH) return null;
  let end = i;
  while (end < lines.length && lines[end].startsWith(">")) end += 1;
  return [
    h(
      "blockquote",
      {},
      ...blocks(
        lines.slice(i, end).map((line) => line.replace(/^> ?/, "")),
        depth + 1,
      ),
    ),
    end,
  ];
}

const ITEM = /^(\s*)([-*+]|(\d{1,9})[.)])\s+(.*)$/;

function list(lines, i, depth) {
  const first = ITEM.exec(lines[i]);
  if (!first || depth >= DEPTH) return null;
  const indent = first[1].length;
  const ordered = first[3] !== undefined;
  const items = [];
  let end = i;
  while (end < lines.length) {
    const found = ITEM.exec(lines[end]);
    if (found && found[1].length <= indent) {
      if ((found[3] !== undefined) !== ordered || found[1].length < indent) break;
      items.push([found[4]]);
    } else if (found || /^\s{2,}\S/.test(lines[end])) {
      items.at(-1).push(dedented(lines[end], indent + 2));
    } else if (!lines[end].trim() && continues(lines[end + 1], indent, ordered)) {
      items.at(-1).push("");
    } else break;
    end += 1;
  }
  const children = items.map((item) => h("li", {}, ...tight(blocks(item, depth + 1))));
  const start = ordered && first[3] !== "1" ? String(Number(first[3])) : null;
  return [h(ordered ? "ol" : "ul", { start }, ...children), end];
}

function continues(line, indent, ordered) {
  const found = line === undefined ? null : ITEM.exec(line);
  if (found) return found[1].length > indent || (found[3] !== undefined) === ordered;
  return line !== undefined && /^\s{2,}\S/.test(line);
}

const dedented = (line, by) => line.slice(Math.min(by, line.length - line.trimStart().length));

/** The words of an item that is one paragraph, without its margins. */
function tight(nodes) {
  return nodes.flatMap((node, index) => (index === 0 && node.nodeName === "P" ? [...node.childNodes] : [node]));
}

function table(lines, i) {
  if (!lines[i].includes("|") || !/^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[i + 1] ?? "")) return null;
  const sides = cells(lines[i + 1]).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "centre" : "right") : null,
  );
  const row = (line, tag) =>
    h("tr", {}, ...cells(line).map((cell, column) => h(tag, { class: sides[column] }, ...inline(cell))));
  let end = i + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const body = h("tbody", {}, ...lines.slice(i + 2, end).map((line) => row(line, "td")));
  const whole = h("table", {}, h("thead", {}, row(lines[i], "th")), body);
  return [h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, whole), end];
}

function cells(line) {
  return line
    .trim()
    .replace(/^\|/, "")
    .replace(/\|$/, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
}

const READERS = [fence, heading, rule, quote, table, list];

function paragraph(lines, i, depth) {
  let end = i + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines, end, depth)) end += 1;
  return [h("p", {}, ...inline(lines.slice(i, end).join("\n"))), end];
}

function begins(lines, i, depth) {
  return /^ {0,3}(#{1,6}\s|`{3,}|~{3,}|>|[-*+]\s|\d{1,9}[.)]\s)/.test(lines[i]) && depth < DEPTH;
}

// --- within a line ---------------------------------------------------------------------------------------------------

const EMPHASIS = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "s"],
  ["*", "em"],
  ["_", "em"],
];
const SPECIAL = /[\\`*_~[!\nhm]/g;

function inline(text, depth = 0) {
  const nodes = [];
  let start = 0;
  let i = 0;
  while (i < text.length) {
    SPECIAL.lastIndex = i;
    const found = SPECIAL.exec(text);
    if (!found) break;
    i = found.index;
    const read = depth < DEPTH ? spanAt(text, i, depth) : null;
    if (read) {
      nodes.push(text.slice(start, i), read[0]);
      i = start = read[1];
    } else i += 1;
  }
  return [...nodes, text.slice(start)].filter((node) => node !== "");
}

function spanAt(text, i, depth) {
  switch (text[i]) {
    case "\\":
      return /[!-/:-@[-`{-~]/.test(text[i + 1] ?? "") ? [text[i + 1], i + 2] : null;
    case "\n":
      return [h("br"), i + 1];
    case "`":
      return codeSpan(text, i);
    case "[":
      return link(text, i, depth);
    case "!":
      return text[i + 1] === "[" ? picture(text, i) : null;
    case "h":
    case "m":
      return address(text, i);
    default:
      return emphasis(text, i, depth);
  }
}

function codeSpan(text, i) {
  const ticks = /^`+/.exec(text.slice(i, i + 20))[0];
  const end = text.indexOf(ticks, i + ticks.length);
  if (end < 0 || end - i > SPAN) return null;
  return [h("code", {}, text.slice(i + ticks.length, end).replace(/^ (.*) $/, "$1")), end + ticks.length];
}

function emphasis(text, i, depth) {
  for (const [mark, tag] of EMPHASIS) {
    if (!text.startsWith(mark, i)) continue;
    const inside = i + mark.length;
    if (mark[0] === "_" && /\w/.test(text[i - 1] ?? "")) continue; // snake_case is no emphasis
    if (/\s/.test(text[inside] ?? " ")) continue;
    const end = closing(text, inside, mark);
    if (end > inside) return [h(tag, {}, ...inline(text.slice(inside, end), depth + 1)), end + mark.length];
  }
  return null;
}

function closing(text, from, mark) {
  const limit = Math.min(text.length, from + SPAN);
  for (let end = text.indexOf(mark, from); end >= 0 && end < limit; end = text.indexOf(mark, end + 1)) {
    const doubled = mark.length === 1 && (text[end + 1] === mark || text[end - 1] === mark);
    const inWord = mark[0] === "_" && /\w/.test(text[end + mark.length] ?? "");
    if (!/\s/.test(text[end - 1]) && !doubled && !inWord) return end;
  }
  return -1;
}

const LINK =
  /\[((?:[^\][\\]|\\.){1,500})\]\(\s*<?([^\s<>()]{1,2000}(?:\([^\s<>()]{0,500}\))?)>?(?:\s+"[^"]{0,500}")?\s*\)/y;

function link(text, i, depth) {
  LINK.lastIndex = i;
  const found = LINK.exec(text);
  return found && [anchor(found[2], inline(found[1], depth + 1)), LINK.lastIndex];
}

function picture(text, i) {
  LINK.lastIndex = i + 1;
  const found = LINK.exec(text);
  return found && [anchor(found[2], [`Picture: ${found[1]}`]), LINK.lastIndex];
}

const ADDRESS = /(?:https?:\/\/|mailto:)[^\s<>"'`]{1,2000}/y;

function address(text, i) {
  if (/\w/.test(text[i - 1] ?? "")) return null;
  ADDRESS.lastIndex = i;
  const found = ADDRESS.exec(text);
  const url = found && found[0].replace(/[.,;:!?*_~)\]]+$/, "");
  return found && [anchor(url, [url]), i + url.length];
}

/** A link to the web or by mail; any other address is text. */
function anchor(url, children) {
  if (!/^(https?:\/\/|mailto:)/i.test(url)) return h("span", { title: url }, ...children);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, ...children);
}
