import { fields, number } from "../json.ts";

/** How answers are drawn, under the names of the server's API. What is left out is the server's default. */
export interface Settings {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  max_tokens?: number;
  seed?: number;
  thinking?: boolean;
}

export interface NumberSetting {
  name: Exclude<keyof Settings, "thinking">;
  label: string;
  hint: string;
  least: number;
  most: number;
  isWhole: boolean;
}

const WHOLE = { least: 1, most: Number.MAX_SAFE_INTEGER, isWhole: true };
const SHARE = { least: 0, most: 1, isWhole: false };

export const NUMBER_SETTINGS: NumberSetting[] = [
  {
    name: "temperature",
    label: "Temperature",
    hint: "0 always takes the likeliest token",
    least: 0,
    most: 5,
    isWhole: false,
  },
  { name: "top_p", label: "Top p", hint: "the likeliest tokens that together have this share", ...SHARE },
  { name: "top_k", label: "Top k", hint: "so many of the likeliest tokens; 0: all", ...WHOLE, least: 0 },
  { name: "min_p", label: "Min p", hint: "tokens with at least this share of the best one's", ...SHARE },
  { name: "max_tokens", label: "Max tokens", hint: "the longest answer", ...WHOLE },
  { name: "seed", label: "Seed", hint: "the same seed gives the same answer", ...WHOLE, least: 0 },
];

/** Settings that were stored; what is wrong among them is left out. */
export function readSettings(value: unknown): Settings {
  const given = fields(value);
  const settings: Settings = {};
  for (const setting of NUMBER_SETTINGS) {
    const found = number(given[setting.name]);
    if (found !== undefined && isValid(setting, found)) settings[setting.name] = found;
  }
  if (typeof given.thinking === "boolean") settings.thinking = given.thinking;
  return settings;
}

export function isValid({ least, most, isWhole }: NumberSetting, value: number): boolean {
  return value >= least && value <= most && (!isWhole || Number.isInteger(value));
}
