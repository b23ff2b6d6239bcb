import { Answering } from "./answering.ts";
import {
  append,
  branch,
  type Conversation,
  type Message,
  newConversation,
  showBranchOf,
} from "./store/conversation.ts";
import { Library } from "./store/library.ts";
import type { Settings } from "./store/settings.ts";

export interface SessionListener {
  /** Another conversation is shown, or another branch of it. */
  shown(): void;
  deleted(id: string): void;
  /** The list of conversations, or what it says of them, has changed. */
  listed(): void;
  began(answering: Answering): void;
  progressed(answering: Answering): void;
  ended(answering: Answering): void;
  /** A sentence about what went wrong with the browser's storage. */
  trouble(sentence: string): void;
}

/** The conversations, the one that is shown, and the answers that are being written. It knows nothing of the views. */
export class Session {
  readonly library: Library;
  conversation = newConversation();
  private readonly answerings = new Map<string, Answering>();

  constructor(private readonly listener: SessionListener) {
    this.library = new Library(
      (id) => this.changedElsewhere(id),
      (sentence) => listener.trouble(sentence),
    );
    // The browser breaks off the requests of a page that is left. Their answers are stopped, not failed.
    addEventListener("pagehide", () => {
      for (const answering of this.answerings.values()) answering.stop();
    });
  }

  /** The answer that is being written in the conversation that is shown. */
  get answering(): Answering | undefined {
    return this.answerings.get(this.conversation.id);
  }

  /** The conversations in which an answer is being written. */
  get busy(): ReadonlySet<string> {
    return this.library.busy;
  }

  get isNew(): boolean {
    return this.library.get(this.conversation.id) === undefined;
  }

  select(id: string): void {
    const found = this.library.get(id);
    if (found && found !== this.conversation) this.show(found);
  }

  startNew(): void {
    if (!this.isNew) this.show(newConversation());
  }

  /** Shows a neighbour in the list of conversations. */
  step(by: 1 | -1): void {
    const list = this.library.list();
    const at = list.findIndex(({ id }) => id === this.conversation.id);
    const next = list[at + by];
    if (next) this.show(next);
  }

  /** Asks for the answer to a text that comes after what is shown. As with the next two, an answer that is being written
   * in the conversation is stopped. */
  send(text: string, model: string, settings: Settings): void {
    const { conversation } = this;
    append(conversation, conversation.leaf, { role: "user", text });
    this.answer(model, settings);
  }

  /** Sends an edited message beside the old one. */
  resend(message: Message, text: string, model: string, settings: Settings): void {
    append(this.conversation, message.parent, { role: "user", text });
    this.answer(model, settings);
  }

  /** Asks for another answer beside one. One that failed with nothing to keep makes room for it. */
  regenerate(message: Message, model: string, settings: Settings): void {
    const { conversation } = this;
    conversation.leaf = message.parent;
    const isEmpty = message.text === "" && !message.thoughts;
    const isLast = !conversation.messages.some((other) => other.parent === message.id);
    if (isEmpty && isLast) conversation.messages = conversation.messages.filter((other) => other !== message);
    this.answer(model, settings);
  }

  /** Changes the text of an answer in place. */
  correct(message: Message, text: string): void {
    message.text = text;
    this.keep();
    this.listener.shown();
  }

  showVersion(message: Message): void {
    showBranchOf(this.conversation, message);
    this.keep();
    this.listener.shown();
  }

  stop(): void {
    this.answering?.stop();
  }

  setSystem(text: string): void {
    this.conversation.system = text;
    if (!this.isNew) this.library.saveSoon(this.conversation);
  }

  rename(title: string): void {
    this.conversation.title = title;
    this.keep();
  }

  async delete(): Promise<void> {
    const { id } = this.conversation;
    this.stop();
    this.show(newConversation());
    await this.library.delete(id);
    this.listener.deleted(id);
    this.listener.listed();
  }

  private answer(model: string, settings: Settings): void {
    const { conversation, listener } = this;
    this.stop();
    // Until it ends otherwise an answer counts as stopped: so it does where the browser dies in the middle.
    const message = append(conversation, conversation.leaf, { role: "assistant", text: "", model, stopped: "user" });
    const answering = new Answering(conversation, message, settings, () => {
      this.library.saveSoon(conversation);
      listener.progressed(answering);
    });
    this.answerings.set(conversation.id, answering);
    this.library.busy.add(conversation.id);
    this.keep();
    listener.shown();
    listener.began(answering);
    void answering.run().then(() => this.ended(answering));
  }

  private ended(answering: Answering): void {
    const { conversation } = answering;
    conversation.updated = Date.now();
    if (this.library.get(conversation.id)) void this.library.save(conversation);
    if (this.answerings.get(conversation.id) !== answering) return; // another one is being written since
    this.answerings.delete(conversation.id);
    this.library.busy.delete(conversation.id);
    this.listener.ended(answering);
    this.listener.listed();
  }

  /** Has the list shown anew: conversations were added to the library. */
  listed(): void {
    this.listener.listed();
  }

  private keep(): void {
    void this.library.save(this.conversation);
    this.listener.listed();
  }

  private show(conversation: Conversation): void {
    this.conversation = conversation;
    this.listener.shown();
    this.listener.listed();
  }

  private changedElsewhere(id: string): void {
    const changed = this.library.get(id);
    if (!changed) this.listener.deleted(id);
    if (id === this.conversation.id && (changed || branch(this.conversation).length > 0)) {
      this.show(changed ?? newConversation());
    } else this.listener.listed();
  }
}
