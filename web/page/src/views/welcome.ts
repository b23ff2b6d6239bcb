import type { Description } from "../api/models.ts";
import { byId, element } from "../dom.ts";

const EXAMPLES = [
  "Tell me a short story about a tern that crosses the world.",
  "Explain in three sentences why the sea is salty.",
  "Write a friendly letter that declines an invitation.",
];

/** What stands in place of messages while there are none. */
export class Welcome {
  private readonly root = byId("welcome", HTMLElement);
  private readonly about = byId("about-model", HTMLElement);

  constructor(send: (text: string) => void) {
    byId("examples", HTMLElement).append(
      ...EXAMPLES.map((text) =>
        element("button", { type: "button", class: "example", onclick: () => send(text) }, text),
      ),
    );
  }

  show(isEmpty: boolean, model: string, description: Description | null): void {
    this.root.hidden = !isEmpty;
    const context = description?.context && `${description.context.toLocaleString("en")} tokens of context`;
    const facts = [model, description?.size, context].filter(Boolean).join(" · ");
    const isBase = description !== null && !description.hasTemplate;
    const warning = "This model has no chat template: it continues texts, and may not answer questions.";
    this.about.replaceChildren(facts, ...(isBase ? [element("br"), warning] : []));
  }
}
