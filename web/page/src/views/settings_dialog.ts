import { byId, element } from "../dom.ts";
import { isValid, NUMBER_SETTINGS, type NumberSetting, type Settings } from "../store/settings.ts";
import { open } from "./dialogs.ts";

/** The dialog of the settings. An empty field is the server's default. */
export class SettingsDialog {
  private readonly dialog = byId("settings-dialog", HTMLDialogElement);
  private readonly inputs = new Map<NumberSetting, HTMLInputElement>();
  private readonly thinking = byId("thinking", HTMLSelectElement);

  constructor(private readonly changed: (settings: Settings) => void) {
    const rows = NUMBER_SETTINGS.map((setting) => this.row(setting));
    byId("number-settings", HTMLElement).append(...rows);
    this.dialog.addEventListener("input", () => changed(this.read()));
    byId("reset-settings", HTMLButtonElement).addEventListener("click", () => {
      this.fill({});
      changed({});
    });
  }

  async open(settings: Settings): Promise<void> {
    this.fill(settings);
    await open(this.dialog);
    this.changed(this.read());
  }

  private row(setting: NumberSetting): HTMLElement {
    const id = `setting-${setting.name}`;
    const input = element("input", {
      id,
      type: "number",
      min: setting.least,
      max: setting.most,
      step: setting.isWhole ? 1 : "any",
      placeholder: "default",
      inputmode: setting.isWhole ? "numeric" : "decimal",
      "aria-describedby": `${id}-hint`,
    });
    this.inputs.set(setting, input);
    return element(
      "div",
      { class: "setting" },
      element("label", { for: id }, setting.label),
      input,
      element("small", { id: `${id}-hint` }, setting.hint),
    );
  }

  private fill(settings: Settings): void {
    for (const [setting, input] of this.inputs) input.value = settings[setting.name]?.toString() ?? "";
    this.thinking.value = settings.thinking === undefined ? "" : settings.thinking ? "on" : "off";
  }

  /** What is filled in; fields that are empty or wrong count as left out. */
  private read(): Settings {
    const settings: Settings = {};
    for (const [setting, input] of this.inputs) {
      const value = input.valueAsNumber;
      if (Number.isFinite(value) && isValid(setting, value)) settings[setting.name] = value;
    }
    if (this.thinking.value) settings.thinking = this.thinking.value === "on";
    return settings;
  }
}
