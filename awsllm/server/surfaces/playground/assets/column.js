// One model and its conversation: asks, shows the answer as it comes, and can be stopped.

import { ApiError, converse } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { Fold } from "./fold.js";
import { messageElement, updateBody } from "./message.js";
import { requestOf, save, state } from "./state.js";

const FRAME = 40; // milliseconds between two looks of a growing answer; long ones are laid out less often
const LONG = 20_000; // characters

export class Column {
  /** `record` is `{model, messages}` of the state; `page` is told of what concerns all columns. */
  constructor(record, page) {
    this.record = record;
    this.page = page;
    this.controller = null;
    this.list = h("ol", { class: "messages", role: "list" });
    this.empty = h("div", { class: "empty" });
    this.scroller = h("div", { class: "scroller", tabindex: "0", role: "group" }, this.empty, this.list);
    this.select = h("select", { class: "model", onchange: () => this.#chosen() });
    this.other = h("input", {
      class: "other",
      type: "text",
      placeholder: "bedrock:… sagemaker:… local:…",
      "aria-label": "Model reference",
      hidden: true,
      spellcheck: "false",
      autocapitalize: "off",
      onchange: () => this.#typed(),
    });
    this.note = h("span", { class: "note" });
    this.closer = h(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": "Remove this column",
        title: "Remove this column",
        onclick: () => page.remove(this),
      },
      icon("close"),
    );
    this.title = h("h2", { class: "sr" });
    this.element = h(
      "section",
      { class: "column" },
      h("header", {}, this.title, h("div", { class: "pick" }, this.select, this.other), this.note, this.closer),
      this.scroller,
    );
    this.show();
  }

  get model() {
    return this.record.model;
  }

  get busy() {
    return this.controller !== null;
  }

  /** Whether the model waits for the results of tools. */
  get waitsForTools() {
    const last = this.record.messages.at(-1);
    return last?.role === "assistant" && !last.error && last.content.some((block) => block.toolUse);
  }

  // --- who is asked ---

  offer(groups) {
    const known = groups.flatMap(({ models }) => models);
    const options = groups.map(({ title, models }) =>
      h(
        "optgroup",
        { label: title },
        ...models.map((model) => h("option", { value: model.id }, model.name ?? model.id)),
      ),
    );
    this.select.replaceChildren(...options, h("option", { value: "?" }, "Another reference…"));
    this.known = new Map(known.map((model) => [model.id, model]));
    if (!this.record.model) this.record.model = this.page.preferred() ?? known[0]?.id ?? "";
    const isKnown = this.known.has(this.model);
    this.select.value = isKnown ? this.model : "?";
    this.other.hidden = isKnown;
    this.other.value = isKnown ? "" : this.model;
    this.#named();
  }

  #chosen() {
    const isOther = this.select.value === "?";
    this.other.hidden = !isOther;
    if (isOther) this.other.focus();
    else this.#become(this.select.value);
  }

  #typed() {
    const model = this.other.value.trim();
    if (model) this.#become(model);
  }

  #become(model) {
    this.record.model = model;
    this.#named();
    save();
  }

  #named() {
    const found = this.known?.get(this.model);
    const facts = [
      found?.contextWindow && `${Math.round(found.contextWindow / 1000)}k context`,
      found?.images && "reads images",
      found?.state,
    ];
    this.note.textContent = facts.filter(Boolean).join(" · ");
    this.select.setAttribute(
      "aria-label",
      this.page.count() > 1 ? `Model of column ${this.page.indexOf(this) + 1}` : "Model",
    );
    this.select.title = this.model;
    this.title.textContent = `Conversation with ${this.model}`;
    this.element.setAttribute("aria-label", this.title.textContent);
    this.scroller.setAttribute("aria-label", `Messages of ${this.model}`);
  }

  renamed() {
    this.closer.hidden = this.page.count() < 2;
    this.#named();
  }

  // --- what is shown ---

  show() {
    this.list.replaceChildren(
      ...this.record.messages.map((message, index) => messageElement(message, this.#actions(message, index))),
    );
    this.empty.hidden = this.record.messages.length > 0;
    this.#toEnd();
  }

  #actions(message, index) {
    const isLast = index === this.record.messages.length - 1;
    const canRetry = isLast && message.role === "assistant" && !this.busy;
    return {
      retry: canRetry ? () => this.retry() : null,
      answer: isLast && this.waitsForTools ? (results) => this.ask(results) : null,
    };
  }

  #toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #isAtEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 80;
  }

  // --- conversing ---

  ask(content) {
    this.record.messages.push({ role: "user", content });
    return this.#answer();
  }

  retry() {
    this.record.messages.pop();
    return this.#answer();
  }

  stop() {
    this.controller?.abort();
  }

  clear() {
    this.stop();
    this.record.messages = [];
    this.show();
  }

  async #answer() {
    const asked = this.record.messages;
    const message = {
      role: "assistant",
      model: this.model,
      content: [],
      streaming: true,
      schema: Boolean(state.settings.schema.trim()),
    };
    const controller = (this.controller = new AbortController());
    const fold = new Fold();
    let request;
    try {
      request = requestOf(this.model, asked);
    } catch (error) {
      message.error = { code: "Settings", message: error.message };
    }
    asked.push(message);
    this.show();
    this.page.changed();
    if (request) await this.#read(request, message, fold, controller);
    this.#finish(message, fold, asked);
  }

  async #read(request, message, fold, controller) {
    const started = performance.now();
    let first;
    const draw = this.#drawing(message, fold);
    try {
      for await (const [kind, wire] of converse(request, controller.signal)) {
        if (kind === "contentBlockDelta") first ??= performance.now() - started;
        fold.push(kind, wire);
        draw.soon();
      }
    } catch (error) {
      if (controller.signal.aborted) message.stopped = true;
      else
        message.error = { code: error instanceof ApiError ? error.code : "Fault of this page", message: error.message };
    }
    draw.end();
    message.figures = figuresOf(fold, first, performance.now() - started);
  }

  /** Lays the growing answer out at most once in a while. */
  #drawing(message, fold) {
    let timer = 0;
    const draw = () => {
      timer = 0;
      const element = this.list.lastElementChild;
      if (!element) return;
      const atEnd = this.#isAtEnd();
      message.content = fold.content();
      updateBody(element, message);
      if (atEnd) this.#toEnd();
    };
    const length = () => message.content.reduce((sum, block) => sum + (block.text?.length ?? 0), 0);
    return {
      soon: () => {
        timer ||= setTimeout(draw, length() > LONG ? 10 * FRAME : FRAME);
      },
      end: () => clearTimeout(timer),
    };
  }

  #finish(message, fold, asked) {
    this.controller = null;
    delete message.streaming;
    message.content = fold.content({ whole: true });
    message.stopReason = fold.stopReason;
    if (this.record.messages === asked) this.show(); // else the conversation was cleared meanwhile
    this.#say(message);
    this.page.changed();
    save();
    if (this.waitsForTools && this.page.count() === 1)
      this.list.querySelector(".result-form textarea")?.focus({ preventScroll: true });
  }

  /** The whole answer, once: not each token. */
  #say(message) {
    const text = message.content
      .map((block) => block.text ?? (block.toolUse ? `Calls the tool ${block.toolUse.name}.` : ""))
      .join(" ");
    const who = this.page.count() > 1 ? `${this.model}: ` : "";
    if (message.error) announce(`${who}Error. ${message.error.code}. ${message.error.message}`);
    else announce(`${who}${message.stopped ? "Stopped. " : ""}${text || "An empty answer"}`);
  }
}

function figuresOf(fold, first, total) {
  const { inputTokens, outputTokens, cacheReadInputTokens } = fold.usage ?? {};
  const after = total - (first ?? 0);
  const rate = outputTokens > 1 && first !== undefined && after > 50 ? ((outputTokens - 1) * 1000) / after : null;
  return {
    inputTokens,
    outputTokens,
    cacheReadInputTokens,
    firstMs: first,
    totalMs: total,
    rate,
    cost: fold.summary?.cost ?? null,
  };
}
