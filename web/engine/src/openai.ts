/** The face of OpenAI's client over a model: `chat.completions.create`, streaming or not. */

import { ArgumentError } from "./errors.ts";
import type { GenerateOptions, Generation, Model, StopReason } from "./model.ts";
import type { Message } from "./tokenizer/chat.ts";

export interface ChatRequest {
  /** Ignored: there is one model. */
  model?: string;
  messages: readonly Message[];
  stream?: boolean;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  logit_bias?: Readonly<Record<string, number>> | null;
  seed?: number | null;
  stop?: string | readonly string[] | null;
}

type FinishReason = "stop" | "length";

interface Reply<C> {
  id: string;
  object: string;
  created: number;
  model: string;
  choices: C[];
}

export interface ChatCompletion
  extends Reply<{
    index: 0;
    message: { role: "assistant"; content: string };
    finish_reason: FinishReason;
  }> {
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
}

export type ChatChunk = Reply<{
  index: 0;
  delta: { role?: "assistant"; content?: string };
  finish_reason: FinishReason | null;
}>;

/** OpenAI's default, where Sterna's own is 0. */
const TEMPERATURE = 1;

export function openai(model: Model) {
  function create(request: ChatRequest & { stream: true }): AsyncIterable<ChatChunk>;
  function create(request: ChatRequest & { stream?: false }): Promise<ChatCompletion>;
  function create(request: ChatRequest): AsyncIterable<ChatChunk> | Promise<ChatCompletion> {
    const generation = model.chat(request.messages, optionsOf(request));
    const reply = { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model: model.name };
    return request.stream ? chunks(generation, reply) : whole(generation, reply);
  }
  return { chat: { completions: { create } } };
}

function optionsOf(request: ChatRequest): GenerateOptions {
  const known = ["messages", "model", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p"];
  known.push("presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop");
  for (const [name, value] of Object.entries(request))
    if (value != null && !known.includes(name)) throw new ArgumentError(`'${name}' is not done in the browser.`);
  const maxTokens = request.max_completion_tokens ?? request.max_tokens;
  const stop = typeof request.stop === "string" ? [request.stop] : request.stop;
  return {
    temperature: request.temperature ?? TEMPERATURE,
    topP: request.top_p ?? 1,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    ...(request.logit_bias && { logitBias: request.logit_bias }),
    ...(maxTokens != null && { maxTokens }),
    ...(request.seed != null && { seed: request.seed }),
    ...(stop && { stop }),
  };
}

function finish(reason: StopReason | undefined): FinishReason {
  return reason === "length" ? "length" : "stop";
}

type Head = { id: string; created: number; model: string };

async function whole(generation: Generation, reply: Head): Promise<ChatCompletion> {
  const content = await generation.text();
  const { promptTokens: prompt_tokens, completionTokens: completion_tokens } = generation.usage;
  return {
    ...reply,
    object: "chat.completion",
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: finish(generation.stopReason) }],
    usage: { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens },
  };
}

async function* chunks(generation: Generation, reply: Head): AsyncGenerator<ChatChunk, void> {
  const chunk = (delta: { role?: "assistant"; content?: string }, finish_reason: FinishReason | null): ChatChunk => ({
    ...reply,
    object: "chat.completion.chunk",
    choices: [{ index: 0, delta, finish_reason }],
  });
  yield chunk({ role: "assistant", content: "" }, null);
  for await (const { text } of generation) yield chunk({ content: text }, null);
  yield chunk({}, finish(generation.stopReason));
}
