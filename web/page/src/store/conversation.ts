import type { Stats } from "../api/chat.ts";
import { fields, list, number, text } from "../json.ts";

/** A message of the user, or an answer. Messages are a tree: an edited message and a second answer stand beside the
 * first ones, so nothing is lost. */
export interface Message {
  id: string;
  /** The message before; null for the first. */
  parent: string | null;
  role: "user" | "assistant";
  text: string;
  thoughts?: string;
  model?: string;
  stats?: Stats;
  /** Why an answer is not complete; absent while it is written, and where it is complete. */
  stopped?: "user" | "length";
  error?: string;
}

export interface Conversation {
  id: string;
  /** Given by the user; otherwise the first message is its title. */
  title: string;
  system: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  /** Parents come before their children. */
  messages: Message[];
  /** The last message of the branch that is shown. */
  leaf: string | null;
}

const LONGEST_TITLE = 80;

export function newConversation(): Conversation {
  const now = Date.now();
  return { id: newId(), title: "", system: "", created: now, updated: now, messages: [], leaf: null };
}

export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function titleOf(conversation: Conversation): string {
  const first = conversation.messages.find((message) => message.text.trim() !== "")?.text ?? "";
  const line = first.trim().split("\n", 1)[0] ?? "";
  const title = conversation.title || line || "New conversation";
  return title.length > LONGEST_TITLE ? `${title.slice(0, LONGEST_TITLE).trimEnd()}…` : title;
}

/** The messages that are shown, the first one first. */
export function branch(conversation: Conversation): Message[] {
  const byId = new Map(conversation.messages.map((message) => [message.id, message]));
  const shown: Message[] = [];
  for (let at = conversation.leaf; at !== null; ) {
    const message = byId.get(at);
    if (!message) break;
    shown.push(message);
    at = message.parent;
  }
  return shown.reverse();
}

/** A message and those that stand in its place in other branches, in the order in which they came. */
export function versions(conversation: Conversation, message: Message): Message[] {
  return conversation.messages.filter((other) => other.parent === message.parent && other.role === message.role);
}

/** Adds a message after another one, and shows it. */
export function append(
  conversation: Conversation,
  parent: string | null,
  message: Omit<Message, "id" | "parent">,
): Message {
  const added = { ...message, id: newId(), parent };
  conversation.messages.push(added);
  conversation.leaf = added.id;
  conversation.updated = Date.now();
  return added;
}

/** Shows the newest branch that a message is in. */
export function showBranchOf(conversation: Conversation, message: Message): void {
  let leaf: Message | undefined = message;
  while (leaf) {
    conversation.leaf = leaf.id;
    const { id }: Message = leaf;
    leaf = conversation.messages.findLast((other) => other.parent === id);
  }
}

/** A conversation that was stored or exported; null where it is none. Messages whose parents are missing are left
 * out. */
export function readConversation(value: unknown): Conversation | null {
  const given = fields(value);
  const name = text(given.id);
  if (!name || !Array.isArray(given.messages)) return null;
  const id = /^[\w-]{1,64}$/.test(name) ? name : newId(); // it is a part of the page's address
  const messages: Message[] = [];
  const known = new Set<string | null>([null]);
  for (const each of list(given.messages)) {
    const message = readMessage(each);
    if (!message || known.has(message.id) || !known.has(message.parent)) continue;
    known.add(message.id);
    messages.push(message);
  }
  const leaf = text(given.leaf) ?? null;
  const created = number(given.created) ?? Date.now();
  return {
    id,
    title: text(given.title) ?? "",
    system: text(given.system) ?? "",
    created,
    updated: number(given.updated) ?? created,
    messages,
    leaf: leaf !== null && known.has(leaf) ? leaf : (messages.at(-1)?.id ?? null),
  };
}

function readMessage(value: unknown): Message | null {
  const given = fields(value);
  const id = text(given.id);
  const content = text(given.text);
  const role = given.role;
  if (!id || content === undefined || (role !== "user" && role !== "assistant")) return null;
  const message: Message = { id, parent: text(given.parent) ?? null, role, text: content };
  for (const name of ["thoughts", "model", "error"] as const) {
    const found = text(given[name]);
    if (found !== undefined) message[name] = found;
  }
  if (given.stopped === "user" || given.stopped === "length") message.stopped = given.stopped;
  const stats = readStats(given.stats);
  if (stats) message.stats = stats;
  return message;
}

function readStats(value: unknown): Stats | null {
  const given = fields(value);
  const numbers = ["prompt", "cached", "answer", "speed"].map((name) => number(given[name]));
  const [prompt, cached, answer, speed] = numbers;
  if (prompt === undefined || cached === undefined || answer === undefined || speed === undefined) return null;
  return { prompt, cached, answer, speed };
}
