// Asks a server by each of npm's clients. argv: the server's address, and what the model itself says, as JSON:
// {messages, text, prompt_tokens, completion_tokens, max_tokens, seed, temperature}. An assertion that fails ends it.

import assert from "node:assert/strict";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { z } from "zod";

const [url, expectedJson] = process.argv.slice(2);
const { messages, text, prompt_tokens, completion_tokens, ...drawn } = JSON.parse(expectedJson);
const model = "sterna-tern";
const schema = {
  type: "object",
  properties: { city: { enum: ["Kiel", "Riga"] }, masts: { type: "integer", minimum: 1, maximum: 3 } },
  required: ["city", "masts"],
  additionalProperties: false,
};

function checkShip(ship) {
  assert.ok(["Kiel", "Riga"].includes(ship.city) && [1, 2, 3].includes(ship.masts), JSON.stringify(ship));
}

async function openai() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const chat = await client.chat.completions.create({ model, messages, ...drawn });
  assert.equal(chat.choices[0].message.content, text);
  assert.equal(chat.usage.prompt_tokens, prompt_tokens);
  assert.equal(chat.usage.completion_tokens, completion_tokens);
  const stream = client.chat.completions.stream({
    model, messages, ...drawn, stream_options: { include_usage: true },
  });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, text);
  assert.equal(final.usage.completion_tokens, completion_tokens);
  const functions = [{ type: "function", function: { name: "find_ship", parameters: schema } }];
  const called = await client.chat.completions.create({
    model, messages, tools: functions, tool_choice: "required", parallel_tool_calls: false,
  });
  checkShip(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments));
  const embedded = await client.embeddings.create({ model, input: ["a", "b"] });
  assert.equal(embedded.data.length, 2);
  assert.equal(embedded.data[0].embedding.length, 384);
  const response = await client.responses.create({ model, input: messages[0].content, max_output_tokens: 5 });
  assert.ok(response.output_text);
  await assert.rejects(client.chat.completions.create({ model: "other", messages }), OpenAI.NotFoundError);
}

async function anthropic() {
  const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const asked = { model, messages, ...drawn };
  const message = await client.messages.create(asked);
  assert.equal(message.content[0].text, text);
  assert.equal(message.stop_reason, "max_tokens");
  assert.equal(message.usage.input_tokens + message.usage.cache_read_input_tokens, prompt_tokens);
  assert.equal(message.usage.output_tokens, completion_tokens);
  const final = await client.messages.stream(asked).finalMessage();
  assert.equal(final.content[0].text, text);
  assert.equal(final.usage.output_tokens, completion_tokens);
  const called = await client.messages
    .stream({
      model, messages, max_tokens: 200, tools: [{ name: "find_ship", input_schema: schema }],
      tool_choice: { type: "any", disable_parallel_tool_use: true },
    })
    .finalMessage();
  assert.equal(called.stop_reason, "tool_use");
  checkShip(called.content[0].input);
  assert.equal((await client.messages.countTokens({ model, messages })).input_tokens, prompt_tokens);
  await assert.rejects(client.messages.create({ ...asked, model: "other" }), Anthropic.NotFoundError);
}

async function ollama() {
  const client = new Ollama({ host: url });
  const { max_tokens: num_predict, ...rest } = drawn;
  const options = { num_predict, top_k: 0, top_p: 1, ...rest };
  const chat = await client.chat({ model, messages, options });
  assert.equal(chat.message.content, text);
  assert.equal(chat.eval_count, completion_tokens);
  let streamed = "";
  for await (const part of await client.chat({ model, messages, options, stream: true })) {
    streamed += part.message.content;
  }
  assert.equal(streamed, text);
  checkShip(JSON.parse((await client.chat({ model, messages, format: schema })).message.content));
  assert.equal((await client.list()).models[0].model, `${model}:latest`);
  await assert.rejects(client.chat({ model: "other", messages }), /There is no model 'other'/);
}

async function aiSdk() {
  const provider = createOpenAICompatible({
    name: "sterna", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true,
  });
  const asked = { model: provider(model), messages, maxOutputTokens: drawn.max_tokens, ...drawn, maxRetries: 0 };
  const whole = await generateText(asked);
  assert.equal(whole.text, text);
  assert.equal(whole.usage.inputTokens, prompt_tokens);
  const stream = streamText(asked);
  let streamed = "";
  for await (const piece of stream.textStream) streamed += piece;
  assert.equal(streamed, text);
  assert.equal((await stream.usage).outputTokens, completion_tokens);
  const ship = z.object({ city: z.enum(["Kiel", "Riga"]), masts: z.union([z.literal(1), z.literal(2)]) });
  checkShip((await generateObject({ model: provider(model), messages, schema: ship, maxRetries: 0 })).object);
  const tools = { find_ship: tool({ description: "Finds a ship.", inputSchema: jsonSchema(schema) }) };
  const called = await generateText({
    model: provider(model), messages, tools, toolChoice: { type: "tool", toolName: "find_ship" }, maxRetries: 0,
    providerOptions: { sterna: { parallel_tool_calls: false } },
  });
  checkShip(called.toolCalls[0].input);
}

for (const client of [openai, anthropic, ollama, aiSdk]) {
  await client();
  console.log(`${client.name}: as the model itself`);
}
