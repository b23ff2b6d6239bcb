import type { Answering, Phase } from "../answering.ts";
import { element, icon, iconButton } from "../dom.ts";
import { MarkdownView } from "../markdown/view.ts";
import type { Message } from "../store/conversation.ts";
import { copyButton } from "./copy.ts";
import { Editor } from "./editor.ts";

export interface MessageActions {
  /** A message of the user was edited: it is sent anew, beside the old one. An answer is changed in place. */
  edited(message: Message, text: string): void;
  regenerate(message: Message): void;
  show(message: Message): void;
}

/** A message in the thread. `show` brings it up to date. */
export class MessageView {
  readonly root: HTMLElement;
  private readonly body = element("div", { class: "body" });
  private readonly thoughts = element("details", { class: "thoughts", hidden: true });
  private readonly thoughtsTitle = element("summary", {}, "Thoughts");
  private readonly status = element("div", { class: "status" });
  private readonly foot = element("div", { class: "foot" });
  private readonly text = new MarkdownView(this.body);
  private readonly thoughtsText: MarkdownView;
  private isEdited = false;

  constructor(
    readonly message: Message,
    private readonly versions: Message[],
    private readonly actions: MessageActions,
  ) {
    const isUser = message.role === "user";
    const thoughtsBody = element("div", { class: "body" });
    this.thoughtsText = new MarkdownView(thoughtsBody);
    this.thoughts.append(this.thoughtsTitle, thoughtsBody);
    const heading = element("h2", { class: "visually-hidden" }, isUser ? "You" : (message.model ?? "Answer"));
    this.root = element(
      "article",
      { class: `message ${message.role}` },
      heading,
      this.thoughts,
      this.body,
      this.status,
      this.foot,
    );
  }

  /** Shows the message as it is; `answering` while it is written. Returns the blocks of its text. */
  show(answering: Answering | undefined): HTMLElement[] {
    const { message, root } = this;
    if (this.isEdited) return [];
    root.setAttribute("aria-busy", String(answering !== undefined));
    this.thoughts.hidden = !message.thoughts;
    if (message.thoughts) this.thoughtsText.show(message.thoughts);
    this.thoughtsTitle.textContent = answering && message.text === "" ? "Thinking…" : "Thoughts";
    const blocks = message.role === "user" ? this.showPlain() : this.text.show(message.text);
    this.status.replaceChildren(...(answering ? [progress(answering.phase, message)] : this.ending()));
    this.foot.replaceChildren(...(answering ? [] : this.buttons()));
    return blocks;
  }

  copy(): void {
    this.foot.querySelector<HTMLButtonElement>(".copy")?.click();
  }

  edit(): void {
    if (this.isEdited) return;
    this.isEdited = true;
    const end = () => {
      this.isEdited = false;
      this.root.classList.remove("edited");
      editor.root.replaceWith(this.body);
      this.show(undefined);
      this.root.querySelector<HTMLElement>(".edit")?.focus();
    };
    const editor = new Editor(this.message.role, this.message.text, end, (text) => {
      end();
      this.actions.edited(this.message, text);
    });
    this.body.replaceWith(editor.root);
    this.foot.replaceChildren();
    this.root.classList.add("edited");
    editor.focus();
  }

  /** What a user wrote is shown as it was written. */
  private showPlain(): HTMLElement[] {
    const text = element("p", { dir: "auto", class: "plain" }, this.message.text);
    this.body.replaceChildren(text);
    return [text];
  }

  private ending(): HTMLElement[] {
    const { error, stopped } = this.message;
    if (error !== undefined) return [element("p", { class: "error" }, icon("warning"), error)];
    if (stopped === "user") return [element("p", {}, "Stopped.")];
    if (stopped === "length")
      return [element("p", {}, "The answer ends here: it reached the most tokens, or the end of the context.")];
    return [];
  }

  private buttons(): HTMLElement[] {
    const { message, actions } = this;
    const edit = iconButton("edit", message.role === "user" ? "Edit and send again" : "Edit the answer", () =>
      this.edit(),
    );
    edit.classList.add("edit");
    const shown = [copyButton("Copy the text", () => message.text), edit];
    if (message.role === "assistant") {
      shown.push(
        iconButton("again", message.error ? "Try again" : "Another answer", () => actions.regenerate(message)),
      );
    }
    return [...this.versionButtons(), ...shown, ...this.stats()];
  }

  private versionButtons(): HTMLElement[] {
    const { versions, message, actions } = this;
    if (versions.length < 2) return [];
    const at = versions.findIndex((version) => version.id === message.id);
    const step = (by: number, name: string, label: string) => {
      const target = versions[at + by];
      const button = iconButton(name, label, () => target && actions.show(target));
      button.disabled = target === undefined;
      return button;
    };
    const count = element("span", { class: "count" }, `${at + 1}/${versions.length}`);
    return [step(-1, "left", "Version before"), count, step(1, "right", "Next version")];
  }

  private stats(): HTMLElement[] {
    const { stats, model } = this.message;
    const speed = stats && stats.speed > 0 ? `${stats.speed.toFixed(1)} tokens/s` : null;
    const parts = [model, stats && `${stats.answer.toLocaleString("en")} tokens`, speed].filter(Boolean);
    if (this.message.role === "user" || parts.length === 0) return [];
    const cached = stats ? `Prompt: ${stats.prompt} tokens, ${stats.cached} of them computed before` : undefined;
    return [element("span", { class: "stats", title: cached }, parts.join(" · "))];
  }
}

function progress(phase: Phase, message: Message): HTMLElement {
  if (phase.kind === "waiting") return element("p", { class: "working" }, phase.sentence);
  if (phase.kind === "writing" || message.text) {
    return element("p", { class: "working" }, element("span", { class: "visually-hidden" }, "Writing…"));
  }
  const percent = Math.floor(phase.share * 100);
  const bar = element("progress", { max: 100, value: percent, "aria-label": "Prompt read" });
  return element("p", { class: "working" }, bar, `Reading the prompt: ${percent} %`);
}
