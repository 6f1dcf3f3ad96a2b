// The page: its views, its theme, its keys. Each view is a module of its own.

import { onKeyNeeded, setKey } from "./api.js";
import { setUpCalls, watchCalls } from "./calls.js";
import { clear, loadModels, setUpChat, stop } from "./chat.js";
import { setUpCode } from "./code.js";
import { announce, byId, h } from "./dom.js";
import { watchResources } from "./resources.js";
import { settingsAreOpen, toggleSettings } from "./settings.js";
import { saveNow } from "./state.js";

const VIEWS = ["chat", "calls", "resources"];

// --- views ---

function show(view, { focus = false } = {}) {
  for (const name of VIEWS) {
    byId(name).hidden = name !== view;
    const tab = document.querySelector(`[data-view="${name}"]`);
    if (name === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
    if (name === view && focus) tab.focus();
  }
  document.body.classList.remove("with-call");
  watchCalls(view === "calls");
  watchResources(view === "resources");
  history.replaceState(null, "", view === "chat" ? location.pathname : `#${view}`);
}

function setUpViews() {
  for (const tab of document.querySelectorAll("[data-view]"))
    tab.addEventListener("click", () => show(tab.dataset.view));
  document.querySelector('[data-view="chat"]').addEventListener("click", loadModels);
  const named = location.hash.slice(1);
  show(VIEWS.includes(named) ? named : "chat");
}

// --- theme ---

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function paint(theme) {
  root.dataset.theme = theme;
  byId("toggle-theme").setAttribute("aria-pressed", String(theme === "dark"));
}

function toggleTheme() {
  const theme = root.dataset.theme === "dark" ? "light" : "dark";
  paint(theme);
  keep(theme === (system.matches ? "dark" : "light") ? null : theme); // the system's own choice is followed again
  announce(`${theme} theme`);
}

function keep(theme) {
  try {
    if (theme === null) localStorage.removeItem("awsllm.theme");
    else localStorage.setItem("awsllm.theme", theme);
  } catch {
    // Not kept: no storage.
  }
}

function setUpTheme() {
  paint(root.dataset.theme);
  byId("toggle-theme").addEventListener("click", toggleTheme);
  system.addEventListener("change", ({ matches }) => {
    if (!localStorage.getItem("awsllm.theme")) paint(matches ? "dark" : "light");
  });
}

// --- keys: letters alone are for screen readers and for typing, so each has Alt and Shift ---

const KEYS = [
  ["KeyC", "Chat", () => show("chat", { focus: true })],
  ["KeyL", "Calls", () => show("calls", { focus: true })],
  ["KeyR", "Resources", () => show("resources", { focus: true })],
  [
    "KeyN",
    "New chat",
    () => {
      show("chat");
      clear();
    },
  ],
  [
    "KeyS",
    "Settings",
    () => {
      show("chat");
      toggleSettings();
    },
  ],
  [
    "KeyP",
    "Code",
    () => {
      show("chat");
      byId("open-code").click();
    },
  ],
  ["KeyD", "Light or dark", toggleTheme],
  ["KeyK", "This list", () => byId("shortcuts-dialog").showModal()],
];

function onKey(event) {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (!stop() && settingsAreOpen() && byId("settings").contains(document.activeElement)) toggleSettings(false);
    return;
  }
  if (!event.altKey || !event.shiftKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]"))
    return;
  const found = KEYS.find(([code]) => code === event.code);
  if (!found) return;
  event.preventDefault();
  found[2]();
}

function setUpKeys() {
  addEventListener("keydown", onKey);
  const rows = [
    ["Enter", "Send"],
    ["Shift Enter", "New line"],
    ["Esc", "Stop the answer"],
    ...KEYS.map(([code, name]) => [`Alt Shift ${code.slice(3)}`, name]),
  ];
  byId("shortcuts").replaceChildren(
    ...rows.map(([keys, name]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, ...keys.split(" ").map((key) => h("kbd", {}, key)))),
    ),
  );
  byId("open-shortcuts").addEventListener("click", () => byId("shortcuts-dialog").showModal());
  for (const button of document.querySelectorAll("[data-close]"))
    button.addEventListener("click", () => button.closest("dialog").close());
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog && dialog.id !== "key-dialog") dialog.close();
    });
  }
}

// --- the server's key ---

function askForKey(isWrong) {
  const dialog = byId("key-dialog");
  byId("key-notice").hidden = !isWrong;
  byId("key").value = "";
  dialog.showModal();
  byId("key").focus();
  return new Promise((resolve) => {
    byId("key-form").addEventListener(
      "submit",
      () => {
        setKey(byId("key").value.trim());
        resolve();
      },
      { once: true },
    );
  });
}

onKeyNeeded(askForKey);
// Without a key there is nothing to do: the question stays.
byId("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
addEventListener("pagehide", saveNow);
setUpTheme();
setUpKeys();
setUpCalls();
setUpCode();
setUpViews();
await setUpChat();
