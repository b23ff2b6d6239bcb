import type { Answering } from "./answering.ts";
import { type ServerError, setKey } from "./api/server.ts";
import { byId } from "./dom.ts";
import { help, listenToKeys } from "./keyboard.ts";
import { Session } from "./session.ts";
import { branch, type Message, titleOf } from "./store/conversation.ts";
import { type Preferences, readPreferences, savePreferences } from "./store/preferences.ts";
import { Announcer } from "./views/announcer.ts";
import { Composer } from "./views/composer.ts";
import { ContextMeter } from "./views/context_meter.ts";
import { askText, canBeCancelled } from "./views/dialogs.ts";
import { Manager } from "./views/manager.ts";
import { ModelPicker } from "./views/model_picker.ts";
import { Notices } from "./views/notices.ts";
import { SettingsDialog } from "./views/settings_dialog.ts";
import { Sidebar } from "./views/sidebar.ts";
import { SystemPrompt } from "./views/system_prompt.ts";
import { HAS_KEYBOARD } from "./views/text_area.ts";
import { switchTheme } from "./views/theme.ts";
import { Thread } from "./views/thread.ts";
import { Welcome } from "./views/welcome.ts";

/** The page: what the user does goes to the session, and what changes there to the views. */
export class App {
  private readonly preferences = readPreferences();
  private readonly notices = new Notices(byId("notices", HTMLElement));
  private readonly announcer = new Announcer(byId("announcer", HTMLElement));
  private readonly session = new Session({
    shown: () => {
      this.showConversation();
      this.showAddress();
    },
    deleted: (id) => this.forgetDraft(id),
    listed: () => this.showList(),
    began: (answering) => this.began(answering),
    progressed: (answering) => this.progressed(answering),
    ended: (answering) => this.ended(answering),
    trouble: (sentence) => this.notices.show(sentence),
  });
  private readonly sidebar = new Sidebar((id) => this.session.select(id));
  private readonly composer = new Composer({
    send: (text) => this.send(text),
    stop: () => this.session.stop(),
    editLast: () => this.thread.editLast(),
    typed: (text) => this.keepDraft(text),
  });
  private readonly thread = new Thread(
    byId("thread", HTMLElement),
    byId("scroller", HTMLElement),
    {
      edited: (message, text) => this.edited(message, text),
      regenerate: (message) => this.regenerate(message),
      show: (message) => this.session.showVersion(message),
    },
    this.announcer,
  );
  private readonly picker = new ModelPicker(this.preferences.model, {
    picked: (model) => this.prefer({ model }),
    described: () => this.showContext(),
    broken: (sentence) => this.notices.show(sentence),
    failed: (error) => this.serverFailed(error),
  });
  private readonly settings = new SettingsDialog((settings) => this.prefer({ settings }));
  private readonly system = new SystemPrompt((text) => this.session.setSystem(text));
  private readonly welcome = new Welcome((text) => this.send(text));
  private readonly meter = new ContextMeter();
  private readonly manager = new Manager(this.session, this.notices);
  /** The notice that the models could not be listed. */
  private failure = "";

  async start(): Promise<void> {
    switchTheme(this.preferences.theme, (theme) => this.prefer({ theme }));
    this.connect();
    this.showConversation();
    void this.picker.refresh();
    if (HAS_KEYBOARD) this.composer.focus();
    await this.session.library.load();
    this.showList();
    const selectByAddress = () => {
      if (location.hash) this.session.select(location.hash.slice(1));
      else this.session.startNew();
    };
    selectByAddress();
    addEventListener("popstate", selectByAddress);
  }

  private connect(): void {
    const openSettings = () => void this.settings.open(this.preferences.settings);
    const startNew = () => {
      this.session.startNew();
      this.sidebar.makeWay();
      this.composer.focus();
    };
    const buttons = { new: startNew, "open-settings": openSettings, "change-key": () => this.askKey(), help };
    for (const [id, act] of Object.entries(buttons)) byId(id, HTMLButtonElement).addEventListener("click", act);
    for (const dialog of document.querySelectorAll("dialog")) canBeCancelled(dialog);
    listenToKeys({
      startNew,
      before: () => this.session.step(-1),
      after: () => this.session.step(1),
      regenerate: () => this.thread.lastAnswer && this.regenerate(this.thread.lastAnswer),
      copyAnswer: () => this.thread.copyLastAnswer(),
      chooseModel: () => byId("model", HTMLSelectElement).focus(),
      openSettings,
      stop: () => this.session.stop(),
    });
  }

  // What the user does

  private send(text: string): void {
    if (this.session.answering) return;
    if (this.composer.text.trim() === text) this.composer.text = "";
    this.session.send(text, this.picker.model, this.preferences.settings);
    this.thread.scrollToEnd();
    this.composer.focus();
  }

  private edited(message: Message, text: string): void {
    if (message.role === "assistant") this.session.correct(message, text);
    else this.session.resend(message, text, this.picker.model, this.preferences.settings);
  }

  private regenerate(message: Message): void {
    this.session.regenerate(message, this.picker.model, this.preferences.settings);
    this.thread.scrollToEnd();
  }

  private prefer(chosen: Partial<Preferences>): void {
    Object.assign(this.preferences, chosen);
    savePreferences(this.preferences);
  }

  /** The texts typed for new conversations, of which there is one at a time, have one place. */
  private get draftName(): string {
    return this.session.isNew ? "" : this.session.conversation.id;
  }

  private keepDraft(text: string): void {
    const { drafts } = this.preferences;
    if (text) drafts[this.draftName] = text;
    else delete drafts[this.draftName];
    savePreferences(this.preferences);
  }

  private forgetDraft(id: string): void {
    delete this.preferences.drafts[id];
    savePreferences(this.preferences);
  }

  /** Asks for the server's key. Returns whether one was given. */
  private async askKey(): Promise<boolean> {
    const key = await askText("key", "");
    if (key === null) return false;
    setKey(key);
    await this.picker.refresh();
    return true;
  }

  // What changes

  private began(answering: Answering): void {
    this.announcer.begin();
    this.composer.setAnswering(true);
    this.progressed(answering);
  }

  private progressed(answering: Answering): void {
    if (answering !== this.session.answering) return;
    this.thread.update(answering, false);
    if (answering.message.model === this.picker.model) this.picker.learn(answering.phase.kind === "waiting");
  }

  private ended(answering: Answering): void {
    if (answering.conversation === this.session.conversation) {
      this.thread.update(answering, true);
      this.announcer.say(answering.message.error ?? "The answer is complete.");
      this.composer.setAnswering(false);
    }
    if (answering.needsKey) void this.askKeyFor(answering);
    else void this.picker.refresh();
    this.showContext();
  }

  private async askKeyFor({ conversation, message }: Answering): Promise<void> {
    if ((await this.askKey()) && conversation === this.session.conversation) this.regenerate(message);
  }

  private serverFailed(error: ServerError | null): void {
    if (error?.status === 401) void this.askKey();
    if (this.failure) this.notices.remove(this.failure);
    this.failure = error?.message ?? "";
    if (this.failure) this.notices.show(this.failure);
  }

  private showConversation(): void {
    const { conversation, answering } = this.session;
    this.thread.show(conversation, answering);
    this.system.show(conversation.system);
    this.composer.text = this.preferences.drafts[this.draftName] ?? "";
    this.composer.setAnswering(answering !== undefined);
    this.showContext();
    if (conversation.messages.length > 0) this.thread.scrollToEnd();
  }

  /** The address names the conversation, so that a reload and the way back lead to it. */
  private showAddress(): void {
    const { conversation, isNew } = this.session;
    const address = isNew ? "" : `#${conversation.id}`;
    if (location.hash !== address) history.pushState(null, "", address || location.pathname);
  }

  private showList(): void {
    const { library, conversation, busy, isNew } = this.session;
    this.sidebar.show(library.list(), conversation.id, busy);
    const title = titleOf(conversation);
    this.manager.show(title, isNew);
    document.title = isNew ? "Sterna" : `${title} · Sterna`;
  }

  private showContext(): void {
    const messages = branch(this.session.conversation);
    const { description, model } = this.picker;
    this.welcome.show(messages.length === 0, model, description);
    this.meter.show(messages, description?.context);
    byId("thinking-hint", HTMLElement).hidden = description?.thinks !== false;
  }
}
