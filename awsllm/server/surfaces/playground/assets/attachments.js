// Pictures and documents for the next prompt: picked, dropped or pasted.

import { announce, byId, h, icon } from "./dom.js";

const IMAGES = { png: "png", jpg: "jpeg", jpeg: "jpeg", gif: "gif", webp: "webp" };
const DOCUMENTS = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
const LARGEST = 4_500_000; // bytes of a document, Bedrock's limit; a picture may have 3.75 MB, which the server says

let files = [];
let tell = () => {};

/** `notice` is told what cannot be attached. */
export function setUpAttachments(notice) {
  tell = notice;
  byId("attach").addEventListener("click", () => byId("picker").click());
  byId("picker").addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
  byId("prompt").addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });
  dropTarget();
}

function dropTarget() {
  const shade = byId("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    shade.hidden = byId("chat").hidden;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) shade.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    shade.hidden = true;
    add(event.dataTransfer.files);
  });
}

/** Take what is attached as Converse's blocks, each with the name that is shown. */
export function takeAttachments() {
  const taken = files.map(({ block }) => block);
  files = [];
  show();
  return taken;
}

export const hasAttachments = () => files.length > 0;

async function add(list) {
  for (const file of [...list]) {
    // a copy: the list is emptied as soon as its event is over
    const ending = file.name.split(".").at(-1).toLowerCase();
    if (!(ending in IMAGES) && !DOCUMENTS.includes(ending))
      tell(`${file.name} is neither a picture nor a document that models read.`);
    else if (file.size > LARGEST) tell(`${file.name} is larger than 4.5 MB, which Bedrock refuses.`);
    else {
      files.push({ name: file.name, block: blockOf(file.name, ending, await base64(file)) });
      announce(`${file.name} attached`);
    }
  }
  show();
  byId("prompt").focus();
}

function blockOf(name, ending, bytes) {
  if (ending in IMAGES) return { image: { format: IMAGES[ending], source: { bytes } }, name };
  return { document: { format: ending, name: documentName(name, ending), source: { bytes } }, name };
}

/** Letters, digits, single spaces, hyphens and brackets, unique: what Bedrock takes as a document's name. */
function documentName(name, ending) {
  const plain =
    name
      .slice(0, -ending.length - 1)
      .replace(/[^A-Za-z0-9\s()[\]-]+/g, " ")
      .replace(/\s+/g, " ")
      .trim()
      .slice(0, 150) || "document";
  const taken = new Set(files.map(({ block }) => block.document?.name));
  let unique = plain;
  for (let number = 2; taken.has(unique); number += 1) unique = `${plain} ${number}`;
  return unique;
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function show() {
  const place = byId("files");
  place.hidden = !files.length;
  place.replaceChildren(
    ...files.map(({ name, block }, index) =>
      h(
        "li",
        { class: "file" },
        thumbnail(block),
        h("span", { class: "name" }, name),
        h(
          "button",
          { type: "button", class: "icon", "aria-label": `Remove ${name}`, onclick: () => remove(index) },
          icon("close"),
        ),
      ),
    ),
  );
}

function remove(index) {
  const [gone] = files.splice(index, 1);
  show();
  announce(`${gone.name} removed`);
  byId("prompt").focus();
}

/** A small picture of a block: itself, or a sheet of paper. */
export function thumbnail(block, alt = "") {
  if (!block.image) return icon("file");
  return h("img", { src: `data:image/${block.image.format};base64,${block.image.source.bytes}`, alt });
}
