import type { Answering } from "../answering.ts";
import { branch, type Conversation, type Message, versions } from "../store/conversation.ts";
import type { Announcer } from "./announcer.ts";
import { type MessageActions, MessageView } from "./message.ts";

/** Pixels from the end within which the thread counts as read to its end, and follows what is written. */
const NEAR_END = 80;

/** The messages of the conversation that is shown. */
export class Thread {
  private views: MessageView[] = [];
  private frame = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly scroller: HTMLElement,
    private readonly actions: MessageActions,
    private readonly announcer: Announcer,
  ) {}

  show(conversation: Conversation, answering: Answering | undefined): void {
    cancelAnimationFrame(this.frame);
    this.views = branch(conversation).map(
      (message) => new MessageView(message, versions(conversation, message), this.actions),
    );
    for (const view of this.views) view.show(view.message.id === answering?.message.id ? answering : undefined);
    this.root.replaceChildren(...this.views.map((view) => view.root));
  }

  /** Shows what an answer has gained, once in a frame. */
  update(answering: Answering, isComplete: boolean): void {
    cancelAnimationFrame(this.frame);
    const update = () => {
      const follows = this.isNearEnd();
      const view = this.views.find((each) => each.message.id === answering.message.id);
      const blocks = view?.show(isComplete ? undefined : answering) ?? [];
      this.announcer.progress(blocks, isComplete);
      if (follows) this.scrollToEnd();
    };
    if (isComplete) update();
    else this.frame = requestAnimationFrame(update);
  }

  scrollToEnd(): void {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** Begins to edit the last message of the user. */
  editLast(): void {
    this.views.findLast((view) => view.message.role === "user")?.edit();
  }

  copyLastAnswer(): void {
    this.views.findLast((view) => view.message.role === "assistant")?.copy();
  }

  get lastAnswer(): Message | undefined {
    return this.views.findLast((view) => view.message.role === "assistant")?.message;
  }

  private isNearEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_END;
  }
}
