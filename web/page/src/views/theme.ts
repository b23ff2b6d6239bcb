import { byId, icon } from "../dom.ts";
import type { Theme } from "../store/preferences.ts";

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const NAMES: Record<Theme, string> = { auto: "as the system", light: "light", dark: "dark" };

/** The button that changes between the colours of the system, light and dark. */
export function switchTheme(theme: Theme, changed: (theme: Theme) => void): void {
  const button = byId("theme", HTMLButtonElement);
  let shown = theme;
  const show = () => {
    if (shown === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = shown;
    button.replaceChildren(icon(`theme-${shown}`), `Colours: ${NAMES[shown]}`);
  };
  button.addEventListener("click", () => {
    shown = NEXT[shown];
    show();
    changed(shown);
  });
  show();
}
