import { Template } from "@huggingface/jinja";
import { expect, test } from "vitest";
import { FormatError } from "../src/errors.ts";
import { renderChat } from "../src/tokenizer/chat.ts";
import { render } from "../src/tokenizer/jinja.ts";

const MESSAGES = Array.from({ length: 400 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: ` ${i} ` }));

test.each([
  "{% for m in messages %}<{{ m['role'] }}>\n  {{ m.content | trim }}\n{% endfor %}{{ true }}{{ none }}",
  "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(1, 9, 3) %}{{ i }}{% endfor %}",
  "{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}",
  "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
])("%s is rendered as the library does", (template) => {
  expect(render(template, { messages: MESSAGES })).toBe(new Template(template).render({ messages: MESSAGES }));
});

test.each([
  "{% for a in range(2000) %}{% for b in range(2000) %}{% endfor %}{{ a }}{% endfor %}",
  "{% set x = range(10000) %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
  "{% for a in range(1000000000) %}{% endfor %}",
  "{% for a in range(1, 2, 0) %}{% endfor %}",
  `{% set ns = namespace(x='aaaa') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}`,
  `{% set ns = namespace(x='aaaa') %}{% for a in range(14) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{% for a in range(9999) %}{% set y = ns.x | upper %}{% endfor %}`,
  "{{ raise_exception('no') }}",
  "{% for",
])("%s ends with a sentence", (template) => {
  const messages = [{ role: "user" as const, content: "a" }];
  expect(() => renderChat(template, messages, (text) => text, {})).toThrow(FormatError);
});

test("a long conversation is within the limits", () => {
  const template =
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}" +
    "{% if m['role'] == 'user' or (m['role'] == 'system' and not loop.first) %}{{ '<|' + m['role'] + '|>' + m['content'] | trim }}" +
    "{% elif m['role'] == 'assistant' %}{% set text = m['content'].split('</think>')[-1].lstrip('\\n') %}{{ text + eos_token }}{% endif %}{% endfor %}";
  const messages = Array.from({ length: 5 }, () => MESSAGES).flat();
  expect(render(template, { messages, eos_token: "</s>" })).toMatch(/^<\|user\|>0.*<\/s>$/);
});
