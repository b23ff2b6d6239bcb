import { byId } from "../dom.ts";
import type { Message } from "../store/conversation.ts";

/** The share of the context from which the meter warns. */
const NEARLY_FULL = 0.9;

/** How much of the context a conversation takes, as of its last complete answer. */
export class ContextMeter {
  private readonly root = byId("context", HTMLElement);
  private readonly bar = byId("context-bar", HTMLProgressElement);
  private readonly words = byId("context-words", HTMLElement);

  show(messages: Message[], context: number | undefined): void {
    const stats = messages.findLast((message) => message.stats)?.stats;
    this.root.hidden = !stats || !context;
    if (!stats || !context) return;
    const used = stats.prompt + stats.answer;
    this.bar.max = context;
    this.bar.value = used;
    const isNearlyFull = used >= NEARLY_FULL * context;
    this.root.classList.toggle("nearly-full", isNearlyFull);
    const counts = `${used.toLocaleString("en")} of ${context.toLocaleString("en")} tokens`;
    this.words.textContent = isNearlyFull ? `${counts}: nearly full, begin a new conversation` : counts;
  }
}
