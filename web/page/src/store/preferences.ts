import { fields, parseJson, text } from "../json.ts";
import { readSettings, type Settings } from "./settings.ts";

const NAME = "sterna-preferences";

export type Theme = "auto" | "light" | "dark";

/** What the user chose, beside conversations, and what was typed and not sent. Kept where the browser keeps anything. */
export interface Preferences {
  theme: Theme;
  model: string;
  settings: Settings;
  /** Texts that were typed and not sent, by conversation; those of a new one under "". */
  drafts: Record<string, string>;
}

export function readPreferences(): Preferences {
  let stored: string | null = null;
  try {
    stored = localStorage.getItem(NAME);
  } catch {
    // Storage is switched off; the defaults do.
  }
  const given = fields(stored === null ? undefined : parseJson(stored));
  const theme = given.theme === "light" || given.theme === "dark" ? given.theme : "auto";
  const drafts: Record<string, string> = {};
  for (const [id, draft] of Object.entries(fields(given.drafts))) if (typeof draft === "string") drafts[id] = draft;
  return { theme, model: text(given.model) ?? "", settings: readSettings(given.settings), drafts };
}

export function savePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(NAME, JSON.stringify(preferences));
  } catch {
    // They last until the tab is closed.
  }
}
