import { fields, list, number, parseJson, text } from "../json.ts";
import type { Settings } from "../store/settings.ts";
import { ask, ServerError, toldError } from "./server.ts";
import { eventData } from "./sse.ts";

export interface Sent {
  role: "system" | "user" | "assistant";
  content: string;
}

/** How much an answer was, and how fast. */
export interface Stats {
  /** Tokens of the prompt, and how many of them the server had computed before. */
  prompt: number;
  cached: number;
  /** Tokens of the answer. */
  answer: number;
  /** Tokens a second. */
  speed: number;
}

export type ChatEvent =
  | { kind: "text" | "thoughts"; text: string }
  | { kind: "prompt"; computed: number; total: number }
  | { kind: "end"; reason: "stop" | "length"; stats: Stats | null };

export const BROKEN = "The connection broke off before the answer was complete. Try again.";

/** The answer to messages, piece by piece; the last event is its end. Throws `ServerError` where there is none, and
 * the signal's reason where that ends it. */
export async function* chat(
  model: string,
  messages: Sent[],
  settings: Settings,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const { thinking, ...drawn } = settings;
  const effort = thinking === undefined ? {} : { reasoning_effort: thinking ? "medium" : "none" };
  const body = { model, messages, stream: true, return_progress: true, ...drawn, ...effort };
  const response = await ask("v1/chat/completions", body, signal);
  if (!response.body) throw new ServerError(BROKEN);
  let hasEnded = false;
  try {
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") {
        if (hasEnded) return;
        break;
      }
      for (const event of read(parseJson(data))) {
        hasEnded ||= event.kind === "end";
        yield event;
      }
    }
  } catch (error) {
    throw signal.aborted || error instanceof ServerError ? error : new ServerError(BROKEN);
  }
  throw new ServerError(BROKEN);
}

/** The events of a chunk. Throws the error that it tells. */
function* read(chunk: unknown): Generator<ChatEvent> {
  const error = toldError(chunk);
  if (error) throw error;
  const { choices, prompt_progress, timings } = fields(chunk);
  const progress = fields(prompt_progress);
  const total = number(progress.total);
  if (total !== undefined) yield { kind: "prompt", computed: number(progress.processed) ?? 0, total };
  const choice = fields(list(choices)[0]);
  const delta = fields(choice.delta);
  const thoughts = text(delta.reasoning_content);
  if (thoughts) yield { kind: "thoughts", text: thoughts };
  const content = text(delta.content);
  if (content) yield { kind: "text", text: content };
  const reason = text(choice.finish_reason);
  if (reason) yield { kind: "end", reason: reason === "length" ? "length" : "stop", stats: stats(timings) };
}

function stats(timings: unknown): Stats | null {
  const { prompt_n, cache_n, predicted_n, predicted_per_second } = fields(timings);
  const cached = number(cache_n) ?? 0;
  const answer = number(predicted_n);
  if (answer === undefined) return null;
  return { prompt: cached + (number(prompt_n) ?? 0), cached, answer, speed: number(predicted_per_second) ?? 0 };
}
