"use strict";
// What moves on the page of an explanation. All texts are set as text: a token may look like markup.
const data = JSON.parse(document.getElementById("data").textContent);
const strip = document.getElementById("tokens");
const buttons = [...strip.querySelectorAll("button")];
const map = document.getElementById("map");
const headChoice = document.getElementById("head");
let chosen = data.chosen;

const element = (name, text, className) => {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};

const share = (weight) => (weight > 0 && weight < 0.0005 ? "<0.1%" : `${(100 * weight).toFixed(1)}%`);

function rows(table, list) {
  table.replaceChildren(...list.map(([text, weight]) => {
    const row = document.createElement("tr");
    const cell = element("td", share(weight), "number heat");
    cell.style.setProperty("--weight", weight);
    row.append(element("td", text, "token"), cell);
    return row;
  }));
}

function weights(place) {
  return data.maps[headChoice ? Number(headChoice.value) : 0].rows[place];
}

function choose(place) {
  buttons[chosen].removeAttribute("aria-current");
  buttons[chosen].tabIndex = -1;
  chosen = place;
  buttons[place].setAttribute("aria-current", "true");
  buttons[place].tabIndex = 0;
  const token = data.tokens[place];
  document.getElementById("about").textContent = token.about;
  rows(document.getElementById("likeliest"), token.likeliest);
  const seen = weights(place).map((weight, n) => [weight, n]).sort((a, b) => b[0] - a[0]).slice(0, 8);
  rows(document.getElementById("looked"), seen.map(([weight, n]) => [`${n} ${data.tokens[n].text}`, weight]));
  const all = weights(place);
  buttons.forEach((button, n) => button.style.setProperty("--weight", n < all.length ? all[n] : 0));
  map.querySelector("rect").setAttribute("y", place);
}

function draw() {
  const paths = data.levels.map(() => []);
  data.maps[headChoice ? Number(headChoice.value) : 0].rows.forEach((row, y) => row.forEach((weight, x) => {
    const level = data.levels.findIndex((least) => weight >= least);
    if (level >= 0) paths[level].push(`M${x} ${y}h1v1h-1z`);
  }));
  map.querySelectorAll("path").forEach((path, level) => path.setAttribute("d", paths[level].join("")));
}

buttons.forEach((button, place) => {
  button.tabIndex = -1;
  button.addEventListener("focus", () => choose(place));
  button.addEventListener("click", () => choose(place));
  button.addEventListener("pointerenter", () => choose(place));
});
strip.addEventListener("keydown", (event) => {
  const last = buttons.length - 1;
  const to = {
    ArrowLeft: chosen - 1, ArrowUp: chosen - 1, ArrowRight: chosen + 1, ArrowDown: chosen + 1, Home: 0, End: last,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  buttons[Math.min(Math.max(to, 0), last)].focus();
});
document.querySelectorAll("input[name=colour]").forEach((input) => input.addEventListener("change", () => {
  strip.classList.toggle("by-attention", input.value === "attention" && input.checked);
}));
if (headChoice) headChoice.addEventListener("change", () => { draw(); choose(chosen); });
map.addEventListener("pointermove", (event) => {
  const box = map.getBoundingClientRect();
  const place = Math.floor((event.clientY - box.top) / box.height * buttons.length);
  if (place >= 0 && place < buttons.length && place !== chosen) choose(place);
});
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
document.querySelectorAll(".controls, #details").forEach((one) => { one.hidden = false; });
choose(chosen);
