import { type Conversation, readConversation } from "./conversation.ts";
import { Database } from "./database.ts";
import type { Imported } from "./transfer.ts";

/** Milliseconds between two writes of a conversation whose answer is being written. */
const SAVE_EVERY = 1000;

const NO_STORAGE =
  "This browser stores nothing here, so conversations last until the tab is closed. Export what you need.";
const NOT_SAVED = "A conversation could not be saved: the browser's storage is full or broken. Export what you need.";

/** All conversations. They are kept in the browser's database, where it has one, and other tabs hear of changes. */
export class Library {
  private readonly conversations = new Map<string, Conversation>();
  private database: Database | null = null;
  private readonly timers = new Map<string, number>();
  /** Conversations whose answers are being written here: what other tabs make of them is not read. */
  readonly busy = new Set<string>();
  private readonly channel = "BroadcastChannel" in window ? new BroadcastChannel("sterna") : null;

  /** `changed` hears of a conversation that another tab changed or deleted; `trouble` of what went wrong. */
  constructor(
    private readonly changed: (id: string) => void,
    private readonly trouble: (sentence: string) => void,
  ) {
    this.channel?.addEventListener("message", (event) => void this.reload(String(event.data)));
    addEventListener("pagehide", () => this.saveAll());
  }

  /** Reads what is stored. A record that is no conversation is left alone. */
  async load(): Promise<void> {
    try {
      this.database = await Database.open();
      for (const stored of await this.database.all()) {
        const conversation = readConversation(stored);
        if (conversation) this.conversations.set(conversation.id, conversation);
      }
    } catch {
      this.trouble(NO_STORAGE);
    }
  }

  get(id: string): Conversation | undefined {
    return this.conversations.get(id);
  }

  /** All conversations, those that changed last first. */
  list(): Conversation[] {
    return [...this.conversations.values()].sort((a, b) => b.updated - a.updated);
  }

  async save(conversation: Conversation): Promise<void> {
    this.conversations.set(conversation.id, conversation);
    clearTimeout(this.timers.get(conversation.id));
    this.timers.delete(conversation.id);
    await this.stored(conversation.id, (database) => database.put(conversation));
  }

  /** Saves a conversation that changes often, once in a while; one that was deleted meanwhile is left alone. */
  saveSoon(conversation: Conversation): void {
    if (this.timers.has(conversation.id) || !this.conversations.has(conversation.id)) return;
    this.timers.set(
      conversation.id,
      window.setTimeout(() => void this.save(conversation), SAVE_EVERY),
    );
  }

  async delete(id: string): Promise<void> {
    this.conversations.delete(id);
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
    await this.stored(id, (database) => database.delete(id));
  }

  /** Adds conversations that were exported. One that is here already stays as it is, if they differ beside the other.
   */
  async add(conversations: Conversation[]): Promise<Imported> {
    const imported = { added: 0, known: 0 };
    for (const conversation of conversations) {
      const here = this.conversations.get(conversation.id);
      if (here && JSON.stringify(readConversation(here)) === JSON.stringify(conversation)) imported.known++;
      else {
        await this.save(here ? { ...conversation, id: `${conversation.id}-${Date.now()}` } : conversation);
        imported.added++;
      }
    }
    return imported;
  }

  private saveAll(): void {
    for (const id of [...this.timers.keys()]) {
      const conversation = this.conversations.get(id);
      if (conversation) void this.save(conversation);
    }
  }

  private async stored(id: string, change: (database: Database) => Promise<void>): Promise<void> {
    if (!this.database) return;
    try {
      await change(this.database);
      this.channel?.postMessage(id);
    } catch {
      this.trouble(NOT_SAVED);
    }
  }

  private async reload(id: string): Promise<void> {
    if (!this.database || this.timers.has(id) || this.busy.has(id)) return;
    const conversation = readConversation(await this.database.get(id).catch(() => null));
    if (conversation) this.conversations.set(id, conversation);
    else this.conversations.delete(id);
    this.changed(id);
  }
}
