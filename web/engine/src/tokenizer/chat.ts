/** Conversations to prompts: the model's own Jinja template, rendered so that no message can forge a special token. */

import { ArgumentError, FormatError } from "../errors.ts";
import { render } from "./jinja.ts";

export interface Message {
  role: "system" | "user" | "assistant" | "tool" | "developer";
  content: string;
}

const ROLES = ["system", "developer", "user", "assistant", "tool"];

/** For models without a template: one line a message, no special tokens, so that it fits every vocabulary. */
const FALLBACK_TEMPLATE =
  "{% for message in messages %}" +
  "{{ message['role'] | capitalize }}: {{ (message['content'] or '') | trim }}\n" +
  "{% endfor %}" +
  "{% if add_generation_prompt %}Assistant:{% endif %}";
/** Strings that end an answer in the fallback. */
export const FALLBACK_STOPS = ["\nUser:"];

// Turns of microsoft/bitnet-b1.58-2B-4T.
const BITNET_TEMPLATE =
  "{{ bos_token }}{% for message in messages %}" +
  "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}<|eot_id|>" +
  "{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";
/** Stands in the template that bitnet.cpp's converter writes into every file, and in no model's own. */
const BITNET_PLACEHOLDER = "BITNETAssistant";

/** The template to use for a model whose file has `template`; null: the fallback. */
export function usableTemplate(template: string | null, special: ReadonlyMap<string, number>): string | null {
  if (!template?.trim()) return null;
  if (!template.includes(BITNET_PLACEHOLDER)) return template;
  return special.has("<|eot_id|>") ? BITNET_TEMPLATE : null;
}

/** The prompt's text in a model's template; null: the fallback. `typed` marks what people wrote. */
export function renderChat(
  template: string | null,
  messages: readonly Message[],
  typed: (text: string) => string,
  variables: Record<string, string>,
): string {
  if (!messages.length) throw new ArgumentError("A conversation is a list of at least one message.");
  const marked = messages.map(({ role, content }) => {
    if (!ROLES.includes(role)) throw new ArgumentError(`The role of a message is one of ${ROLES.join(", ")}.`);
    if (typeof content !== "string") throw new ArgumentError("The content of a message is a text.");
    return { role, content: typed(content) };
  });
  try {
    return render(template ?? FALLBACK_TEMPLATE, { messages: marked, add_generation_prompt: true, ...variables });
  } catch (error) {
    throw new FormatError(
      `The model's chat template does not work: ${error instanceof Error ? error.message : error}.`,
    );
  }
}
