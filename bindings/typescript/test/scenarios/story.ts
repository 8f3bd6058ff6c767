import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Sandbox, SandboxError, type Watch } from "@sandbox/runtime";
import { match, matchFields } from "./match.js";
import {
  Arguments, Connection, create, ON_CONNECTION, ON_PROGRAM, ON_SANDBOX, ON_WATCH, ON_WORLD, type Outcome, Program, type Saved, type World,
} from "./operations.js";
import { type Fields, isObject, type Json, onlyKeys, resolve, Surprise, type Value } from "./values.js";

export interface Step {
  do: string;
  args?: Record<string, Json>;
  on?: string;
  save?: string;
  expect?: Record<string, Json>;
  error?: string | Record<string, Json>;
  within_ms?: number;
}

export interface Story {
  name: string;
  about: string;
  environments?: string[];
  spec?: Record<string, Json> | null;
  steps: Step[];
}

interface Memory {
  fields: Fields;
  object?: Saved;
}

/** What the steps of one story, or of one branch of it, know. */
class Scope {
  private readonly own = new Map<string, Memory>();
  constructor(
    private readonly root: { scratch: string | undefined; made: Saved[] },
    private readonly parent?: Scope,
    private readonly index?: number,
  ) {}

  branch(index: number): Scope {
    return new Scope(this.root, this, index);
  }

  save(name: string | undefined, outcome: Outcome): void {
    if (outcome.object) this.root.made.push(outcome.object);
    if (name !== undefined) this.own.set(name, outcome);
  }

  forget(name: string): void {
    this.own.delete(name);
  }

  find(name: string): Memory {
    const memory = this.own.get(name) ?? this.parent?.find(name);
    if (!memory) throw new Surprise(`nothing was saved as ${name}`);
    return memory;
  }

  readonly lookup = (reference: string): Value => {
    if (reference === "index") {
      const index = this.currentIndex();
      if (index === undefined) throw new Surprise("there is no index outside parallel");
      return index;
    }
    if (reference === "scratch") return (this.root.scratch ??= mkdtempSync(join(tmpdir(), "sandbox-story-")));
    const [name = "", field = ""] = reference.split(".");
    const { fields } = this.find(name);
    if (!(field in fields)) throw new Surprise(`${name} has no field ${field}`);
    return fields[field];
  };

  private currentIndex(): number | undefined {
    return this.index ?? this.parent?.currentIndex();
  }
}

const STEP_KEYS = ["do", "args", "on", "save", "expect", "error", "within_ms"];

async function parallel(step: Step, scope: Scope, world: World): Promise<void> {
  const { branches, times = 1 } = (step.args ?? {}) as unknown as { branches: Step[][]; times?: number };
  onlyKeys(step.args ?? {}, ["branches", "times"], "parallel");
  const copies = Array.from({ length: times }, (_, index) => branches.map((steps) => runSteps(steps, scope.branch(index), world)));
  const outcomes = await Promise.allSettled(copies.flat());
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

async function perform(step: Step, scope: Scope, world: World): Promise<Outcome> {
  const args = new Arguments(resolve(step.args ?? {}, scope.lookup) as Fields, step.do);
  const finish = async (operation: Promise<Outcome>): Promise<Outcome> => {
    const outcome = await operation;
    args.done();
    return outcome;
  };
  const onWorld = ON_WORLD[step.do];
  if (onWorld) return finish(onWorld(world, args, world));
  const { object } = scope.find(step.on ?? "box");
  if (step.do === "process.free") {
    if (object instanceof Program) object.running.close();
    scope.forget(step.on ?? "box");
    return { fields: {} };
  }
  const onProgram = ON_PROGRAM[step.do];
  if (onProgram && object instanceof Program) return finish(onProgram(object, args, world));
  const onConnection = ON_CONNECTION[step.do];
  if (onConnection && object instanceof Connection) return finish(onConnection(object, args, world));
  const onWatch = ON_WATCH[step.do];
  if (onWatch) return finish(onWatch(object as Watch, args, world));
  const onSandbox = ON_SANDBOX[step.do];
  if (onSandbox && !(object instanceof Program) && !(object instanceof Connection)) return finish(onSandbox(object as Sandbox, args, world));
  throw new Surprise("there is no such operation on that");
}

async function once(step: Step, scope: Scope, world: World): Promise<void> {
  let outcome: Outcome;
  try {
    outcome = await perform(step, scope, world);
  } catch (error) {
    if (!(error instanceof SandboxError) || step.error === undefined) throw error;
    if (typeof step.error === "string") match(error.code, step.error, scope.lookup, "the error");
    else {
      const { code, message, operation, errno, retry } = error;
      matchFields({ code, message, operation, errno, retry }, step.error, scope.lookup);
    }
    return;
  }
  if (step.error !== undefined) {
    scope.save(undefined, outcome);
    throw new Surprise(`it succeeded, wanted the error ${JSON.stringify(step.error)}`);
  }
  scope.save(step.save, outcome);
  matchFields(outcome.fields, step.expect ?? {}, scope.lookup);
}

async function runStep(step: Step, scope: Scope, world: World): Promise<void> {
  onlyKeys(step, STEP_KEYS, "a step");
  if (step.do === "parallel") return parallel(step, scope, world);
  for (const deadline = performance.now() + (step.within_ms ?? 0); ; await delay(10)) {
    try {
      return await once(step, scope, world);
    } catch (error) {
      if (performance.now() >= deadline) throw error;
    }
  }
}

async function runSteps(steps: readonly Step[], scope: Scope, world: World): Promise<void> {
  for (const [i, step] of steps.entries()) {
    try {
      await runStep(step, scope, world);
    } catch (error) {
      const text = error instanceof SandboxError ? `failed with ${error.code}: ${error.message}` : String((error as Error).message);
      throw new Surprise(`step ${i + 1} ${step.do}: ${text}`);
    }
  }
}

/** Ends everything a story made, whatever became of it. */
async function clean(made: readonly Saved[]): Promise<void> {
  for (const object of [...made].reverse()) {
    if (object instanceof Program) object.running.close();
    else if (object instanceof Connection) object.socket.destroy();
    else {
      try {
        await object.close();
      } catch {
        // A story may have ended it behind its back.
      }
    }
  }
}

/** Throws at the first surprise. */
export async function runStory(story: Story, world: World): Promise<void> {
  onlyKeys(story, ["name", "about", "environments", "spec", "steps"], "a story");
  const root = { scratch: undefined as string | undefined, made: [] as Saved[] };
  const scope = new Scope(root);
  try {
    if (story.spec !== null) {
      const spec = resolve(story.spec ?? {}, scope.lookup);
      if (!isObject(spec)) throw new Surprise("a spec is an object");
      const box = await create(world, new Arguments(spec as Fields, "create"));
      scope.save("box", { fields: { id: box.id }, object: box });
    }
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Surprise("it takes longer than 60 s")), 60_000);
    });
    await Promise.race([runSteps(story.steps, scope, world), late]).finally(() => clearTimeout(timer));
  } finally {
    await clean(root.made);
    if (root.scratch) rmSync(root.scratch, { recursive: true, force: true });
  }
}
