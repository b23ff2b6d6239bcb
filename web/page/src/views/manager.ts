import { byId } from "../dom.ts";
import type { Session } from "../session.ts";
import type { Conversation } from "../store/conversation.ts";
import { titleOf } from "../store/conversation.ts";
import { download, exported, readExport } from "../store/transfer.ts";
import { askText, confirmDelete } from "./dialogs.ts";
import type { Notices } from "./notices.ts";

/** The buttons that rename, delete, export and import conversations. */
export class Manager {
  private readonly title = byId("title", HTMLElement);
  private readonly tools = byId("tools", HTMLElement);
  private readonly file = byId("import-file", HTMLInputElement);

  constructor(
    private readonly session: Session,
    private readonly notices: Notices,
  ) {
    const buttons = {
      rename: () => this.rename(),
      delete: () => this.delete(),
      export: () => this.export([session.conversation]),
      "export-all": () => this.export(session.library.list()),
      import: () => this.file.click(),
    };
    for (const [id, act] of Object.entries(buttons)) byId(id, HTMLButtonElement).addEventListener("click", act);
    this.file.addEventListener("change", () => void this.import());
  }

  /** Shows the title; a conversation that is not kept yet has no buttons. */
  show(title: string, isNew: boolean): void {
    this.title.textContent = title;
    this.tools.hidden = isNew;
  }

  private async rename(): Promise<void> {
    const title = await askText("rename", titleOf(this.session.conversation));
    if (title !== null) this.session.rename(title);
  }

  private async delete(): Promise<void> {
    if (await confirmDelete(titleOf(this.session.conversation))) await this.session.delete();
  }

  private export(conversations: Conversation[]): void {
    const day = new Date().toISOString().slice(0, 10);
    download(`sterna-conversations-${day}.json`, exported(conversations));
  }

  private async import(): Promise<void> {
    const file = this.file.files?.[0];
    if (!file) return;
    try {
      const { added, known } = await this.session.library.add(readExport(await file.text()));
      const also = known > 0 ? ` ${count(known)} in the file ${known === 1 ? "is" : "are"} here already.` : "";
      this.notices.show(`${count(added)} imported.${also}`);
    } catch (error) {
      this.notices.show(error instanceof Error ? error.message : "The file cannot be read.");
    }
    this.file.value = "";
    this.session.listed();
  }
}

function count(conversations: number): string {
  return conversations === 1 ? "1 conversation" : `${conversations} conversations`;
}
