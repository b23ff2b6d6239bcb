import { byId, element } from "../dom.ts";
import { type Conversation, titleOf } from "../store/conversation.ts";

/** On narrow screens the list of conversations lies over the thread. */
const NARROW = matchMedia("(max-width: 50rem)");

/** The list of conversations; it opens and closes. */
export class Sidebar {
  private readonly root = byId("sidebar", HTMLElement);
  private readonly list = byId("conversations", HTMLUListElement);
  private readonly toggle = byId("toggle-sidebar", HTMLButtonElement);
  private isOpen = !NARROW.matches;

  constructor(private readonly select: (id: string) => void) {
    this.toggle.addEventListener("click", () => this.setOpen(!this.isOpen));
    byId("shade", HTMLElement).addEventListener("click", () => this.setOpen(false));
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !NARROW.matches) return;
      event.stopPropagation();
      this.setOpen(false);
      this.toggle.focus();
    });
    NARROW.addEventListener("change", () => this.setOpen(!NARROW.matches));
    this.setOpen(this.isOpen);
  }

  show(conversations: Conversation[], shown: string, busy: ReadonlySet<string>): void {
    const entries = conversations.map((conversation) => {
      const { id } = conversation;
      const isBusy =
        busy.has(id) &&
        element("span", { class: "busy" }, element("span", { class: "visually-hidden" }, " (answering)"));
      const attributes = {
        type: "button",
        "aria-current": id === shown ? "true" : undefined,
        onclick: () => this.choose(id),
      };
      return element(
        "li",
        {},
        element("button", attributes, element("span", { dir: "auto" }, titleOf(conversation)), isBusy),
      );
    });
    const hadFocus = this.list.contains(document.activeElement);
    this.list.replaceChildren(...entries);
    if (hadFocus) this.list.querySelector<HTMLElement>("[aria-current]")?.focus();
  }

  /** Closes the list where it lies over the thread. */
  makeWay(): void {
    if (NARROW.matches) this.setOpen(false);
  }

  private choose(id: string): void {
    this.select(id);
    this.makeWay();
  }

  private setOpen(isOpen: boolean): void {
    this.isOpen = isOpen;
    document.body.classList.toggle("with-sidebar", isOpen);
    this.toggle.setAttribute("aria-expanded", String(isOpen));
    this.root.inert = !isOpen;
    byId("main", HTMLElement).inert = isOpen && NARROW.matches;
    if (isOpen && NARROW.matches) this.root.querySelector("button")?.focus();
  }
}
