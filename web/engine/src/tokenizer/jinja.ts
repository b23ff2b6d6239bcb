/** Chat templates come with model files, so they are hostile until shown otherwise: rendering has limits, as there is no
 * way to stop it from outside. */

import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";

/** Expressions and statements that a rendering may evaluate; long conversations take some ten thousand. */
const MOST_STEPS = 300_000;
/** What a turn of a loop counts, for the scope that it makes, even where nothing is in the loop. */
const STEPS_OF_A_TURN = 10;
/** Characters of a text, or elements of a list, that cost what a step does: filters go over all of them. */
const LENGTH_OF_A_STEP = 64;
/** Characters of a text, or elements of a list. */
const MOST_LENGTH = 1 << 24;

type Evaluated = ReturnType<Interpreter["evaluate"]>;

class LimitedInterpreter extends Interpreter {
  private steps = 0;
  /** What loops go over. */
  private readonly iterables = new Set<unknown>();

  override evaluate(...given: Parameters<Interpreter["evaluate"]>): Evaluated {
    const [statement] = given;
    if (statement && "iterable" in statement) this.iterables.add(statement.iterable);
    const result = super.evaluate(...given);
    const { value } = result;
    const isList = Array.isArray(value);
    const length = isList || typeof value === "string" ? value.length : 0;
    if (length > MOST_LENGTH) throw new Error("it makes too long a text");
    this.steps += 1 + length / LENGTH_OF_A_STEP;
    if (isList && this.iterables.has(statement)) this.steps += length * STEPS_OF_A_TURN;
    if (this.steps > MOST_STEPS) throw new Error("it takes too many steps");
    return result;
  }
}

/** Renders a template; throws an error of one sentence's end where it is broken or goes past the limits. */
export function render(template: string, variables: Record<string, unknown>): string {
  // As `Template` of the library, whose own interpreter has no limits.
  const environment = new Environment();
  for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) environment.set(name, value);
  const program = parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
  return String(new LimitedInterpreter(environment).run(program).value);
}

const GLOBALS = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range,
  strftime_now: (format: string) => strftime(format, new Date()),
  raise_exception: (message: string) => {
    throw new Error(message);
  },
};

function range(first: number, end?: number, step = 1): number[] {
  const [start, stop] = end === undefined ? [0, first] : [first, end];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= MOST_STEPS)) throw new Error("it makes too long a range");
  return Array.from({ length: count }, (_, i) => start + i * step);
}

/** The fields that templates write dates with. */
function strftime(format: string, date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const name = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat("en-US", options).format(date);
  const fields: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    d: () => two(date.getDate()),
    H: () => two(date.getHours()),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    B: () => name({ month: "long" }),
    b: () => name({ month: "short" }),
    A: () => name({ weekday: "long" }),
    a: () => name({ weekday: "short" }),
    "%": () => "%",
  };
  return format.replace(/%([a-zA-Z%])/g, (whole, field) => fields[field]?.() ?? whole);
}
