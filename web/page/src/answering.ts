import { BROKEN, type ChatEvent, chat, type Sent } from "./api/chat.ts";
import { ServerError } from "./api/server.ts";
import { branch, type Conversation, type Message } from "./store/conversation.ts";
import type { Settings } from "./store/settings.ts";

/** What an answer does at the moment; `share` of the prompt is computed. */
export type Phase = { kind: "waiting"; sentence: string } | { kind: "reading"; share: number } | { kind: "writing" };

/** Seconds after which a request that was refused for now is tried again, where the server does not say. */
const TRY_AGAIN = 1;

/** Seconds after which a request that broke off failed: one that broke off because the page is being left is stopped
 * before. */
const UNTIL_LEFT = 0.2;

/** The writing of one answer into its message. */
export class Answering {
  phase: Phase = { kind: "waiting", sentence: "Waiting for the server…" };
  /** Whether the server refused the answer for want of a key. */
  needsKey = false;
  private readonly controller = new AbortController();
  /** What is asked, also when it is asked again: another branch may be shown by then. */
  private readonly sent: Sent[];

  /** `message` is the last of the branch that is shown. */
  constructor(
    readonly conversation: Conversation,
    readonly message: Message,
    private readonly settings: Settings,
    private readonly changed: () => void,
  ) {
    this.sent = sentMessages(conversation);
  }

  /** Keeps what has come, and asks for no more. */
  stop(): void {
    this.controller.abort();
  }

  /** Writes the answer; how it ended is in the message. */
  async run(): Promise<void> {
    while (!(await this.attempt())) this.changed();
    this.changed();
  }

  /** Whether the answer has ended, in whatever way; otherwise the server wants to be asked again. */
  private async attempt(): Promise<boolean> {
    const { message, settings, sent } = this;
    const { signal } = this.controller;
    try {
      for await (const event of chat(message.model ?? "", sent, settings, signal)) {
        this.take(event);
        this.changed();
      }
    } catch (error) {
      await pause(UNTIL_LEFT, signal);
      if (signal.aborted) return true;
      const told = error instanceof ServerError ? error : new ServerError(BROKEN);
      if (told.retryAfter !== null && message.text === "") {
        this.phase = { kind: "waiting", sentence: told.message };
        this.changed();
        await pause(told.retryAfter || TRY_AGAIN, signal);
        return false;
      }
      delete message.stopped;
      message.error = told.message;
      this.needsKey = told.status === 401;
    }
    return true;
  }

  private take(event: ChatEvent): void {
    const { message } = this;
    switch (event.kind) {
      case "prompt":
        this.phase = { kind: "reading", share: event.total > 0 ? event.computed / event.total : 0 };
        return;
      case "text":
        message.text += event.text;
        break;
      case "thoughts":
        message.thoughts = (message.thoughts ?? "") + event.text;
        break;
      case "end":
        if (event.stats) message.stats = event.stats;
        if (event.reason === "length") message.stopped = "length";
        else delete message.stopped;
    }
    this.phase = { kind: "writing" };
  }
}

/** What the server gets for the answer that is the last message: the messages before it. Answers that failed are left
 * out, and messages of the user that then follow each other become one, for templates expect turns. */
export function sentMessages(conversation: Conversation): Sent[] {
  const sent: Sent[] = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  for (const { role, text } of branch(conversation).slice(0, -1)) {
    const last = sent.at(-1);
    if (role === "assistant" && text === "") continue;
    if (last?.role === role) last.content += `\n\n${text}`;
    else sent.push({ role, content: text });
  }
  return sent;
}

function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    signal.addEventListener("abort", end, { once: true });
  });
}
