import { fields, list, parseJson } from "../json.ts";
import { type Conversation, readConversation } from "./conversation.ts";

const FORMAT = "sterna-conversations";

export interface Imported {
  added: number;
  /** Conversations that were here already. */
  known: number;
}

/** The text of an export: JSON with all messages, and no key. */
export function exported(conversations: Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations of an export. Throws an `Error` with a sentence for people where the text is none. */
export function readExport(text: string): Conversation[] {
  const file = fields(parseJson(text));
  if (file.format !== FORMAT) throw new Error("This file holds no conversations that this page exported.");
  if (file.version !== 1) throw new Error("This file is from a newer version of the page.");
  const given = list(file.conversations);
  const conversations = given.map(readConversation).filter((conversation) => conversation !== null);
  if (conversations.length < given.length) throw new Error("This file is damaged; nothing was imported.");
  return conversations;
}

/** Offers a text for download. */
export function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
