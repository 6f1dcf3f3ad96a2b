// What the offline account has: endpoints, jobs, knowledge bases and the like, with their states.

import { getJson } from "./api.js";
import { byId, h } from "./dom.js";

const EVERY = 3000; // milliseconds

const view = { open: false, timer: 0, last: "" };

export function watchResources(open) {
  view.open = open;
  clearTimeout(view.timer);
  if (open) look();
}

async function look() {
  clearTimeout(view.timer);
  if (!view.open) return;
  if (!document.hidden) {
    try {
      const found = await getJson("account");
      const text = JSON.stringify(found);
      if (text !== view.last) byId("resources-body").replaceChildren(...shown(found)); // else what is focused stays so
      view.last = text;
    } catch (error) {
      byId("resources-body").replaceChildren(h("p", { class: "none" }, error.message));
    }
  }
  view.timer = setTimeout(look, EVERY);
}

function shown({ accountId, groups }) {
  if (!groups.length)
    return [
      h("h2", {}, "Resources"),
      h(
        "p",
        { class: "none" },
        "The offline account is empty. What a deployment makes here (endpoints, jobs, knowledge bases, guardrails) " +
          "shows up with its state.",
      ),
    ];
  return [
    h("h2", {}, "Resources"),
    accountId && h("p", { class: "lead" }, `Of the offline account ${accountId}`),
    ...groups.map(group),
  ].filter(Boolean);
}

function group({ title, resources }) {
  const head = h("tr", {}, ...["Name", "State", "Region", "Created"].map((name) => h("th", { scope: "col" }, name)));
  const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...resources.map(row)));
  return h(
    "section",
    { class: "group", "aria-label": title },
    h("h3", {}, title, h("span", { class: "count" }, String(resources.length))),
    h("div", { class: "table", tabindex: "0", role: "group", "aria-label": title }, table),
  );
}

function row({ name, status, region, created, note }) {
  const style = { dateStyle: "medium", timeStyle: "short" };
  const day = created ? new Date(created * 1000).toLocaleString([], style) : "–";
  const state = status ? h("span", { class: `badge ${tone(status)}` }, status) : "–";
  // On a phone the last two columns stand under the name.
  const under = h("small", { class: "narrow-line" }, [region, created && day].filter(Boolean).join(" · "));
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name, under, note && h("small", {}, note)),
    h("td", {}, state),
    h("td", {}, region),
    h("td", {}, day),
  );
}

function tone(status) {
  if (/fail|error|expired/i.test(status)) return "bad";
  if (/service|completed|active|ready|available|issued/i.test(status)) return "good";
  return /stopp|delet/i.test(status) ? "" : "busy";
}
