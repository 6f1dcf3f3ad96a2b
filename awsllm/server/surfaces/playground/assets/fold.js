// A stream's events to the message that they make, in Converse's names, as far as it has come.

export class Fold {
  constructor() {
    this.stopReason = null;
    this.usage = null;
    this.summary = null;
    this.parts = new Map();
  }

  push(kind, wire) {
    const index = wire.contentBlockIndex;
    if (kind === "contentBlockStart") this.#start(index, wire.start);
    else if (kind === "contentBlockDelta") this.#grow(this.#part(index), wire.delta);
    else if (kind === "messageStop") this.stopReason = wire.stopReason;
    else if (kind === "metadata") this.usage = wire.usage ?? null;
    else if (kind === "done") this.summary = wire;
  }

  /** The blocks so far. Whole ones alone: no tool use whose arguments are still coming. */
  content({ whole = false } = {}) {
    const parts = [...this.parts.entries()].sort(([a], [b]) => a - b).map(([, part]) => part);
    return parts.map((part) => block(part, whole)).filter(Boolean);
  }

  #part(index) {
    if (!this.parts.has(index)) this.parts.set(index, { text: "", thought: "", input: "", citations: [] });
    return this.parts.get(index);
  }

  #start(index, start) {
    const part = this.#part(index);
    if (start.toolUse) part.toolUse = start.toolUse;
    if (start.image) part.image = start.image.format;
  }

  #grow(part, delta) {
    if (delta.text !== undefined) part.text += delta.text;
    else if (delta.toolUse) part.input += delta.toolUse.input ?? "";
    else if (delta.citation) part.citations.push(delta.citation);
    else if (delta.image?.source?.bytes) part.bytes = delta.image.source.bytes;
    else if (delta.reasoningContent) think(part, delta.reasoningContent);
  }
}

function think(part, delta) {
  part.thinks = true;
  part.thought += delta.text ?? "";
  part.signature = delta.signature ?? part.signature;
  part.redacted = delta.redactedContent ?? part.redacted;
}

function block(part, whole) {
  if (part.toolUse) return toolUse(part, whole);
  if (part.image) return part.bytes ? { image: { format: part.image, source: { bytes: part.bytes } } } : null;
  if (part.redacted) return { reasoningContent: { redactedContent: part.redacted } };
  if (part.thinks) {
    const signature = part.signature ? { signature: part.signature } : {};
    return { reasoningContent: { reasoningText: { text: part.thought, ...signature } } };
  }
  return part.text ? { text: part.text, ...(part.citations.length ? { citations: part.citations } : {}) } : null;
}

function toolUse(part, whole) {
  const { toolUseId, name } = part.toolUse;
  try {
    return { toolUse: { toolUseId, name, input: JSON.parse(part.input || "{}") } };
  } catch {
    return whole ? null : { toolUse: { toolUseId, name, input: part.input }, partial: true };
  }
}
