/** Limits how many passwords are hashed at once and how many callers wait, and shares the places out by client. */

/** Too many callers wait for a password hash already; the handler responds with 503. */
export class PasswordQueueFull extends Error {
  override readonly name = "PasswordQueueFull";
  readonly code = "PASSWORD_QUEUE_FULL";
  /** Seconds in which the queue will have drained at its recent pace, at least 1. */
  readonly retryAfter: number;
  constructor(retryAfter: number) {
    super("too many passwords wait to be hashed");
    this.retryAfter = retryAfter;
  }
}

/** The client went away while its password waited to be hashed, so that nothing was hashed. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
  readonly code = "CLIENT_GONE";
  constructor() {
    super("the client went away before its password was hashed");
  }
}

/** On whose behalf a password is hashed. */
export interface Caller {
  /** The client's address, or another key that its requests share. Callers without one count as one client. */
  client?: string | undefined;
  /** Returns whether the client has gone, so that nobody would read the result. */
  isGone?(): boolean;
}

/** How busy a queue is. */
export interface QueueLoad {
  readonly running: number;
  readonly waiting: number;
  /** How many may wait. */
  readonly queue: number;
}

interface Waiting extends Caller {
  start(): void;
  refuse(error: Error): void;
}

export interface Limiter {
  /**
   * Runs a task when its turn comes. The clients that wait take turns, each with its oldest task. In a full queue a client
   * with fewer waiting tasks takes the place of the newest one of the client with the most.
   * @throws {PasswordQueueFull} when the queue is full and no client has more waiting tasks than this one.
   * @throws {ClientGone} when the client has gone before the task began.
   */
  run<T>(task: () => Promise<T>, caller?: Caller): Promise<T>;
  /** Returns how busy the queue is now. */
  load(): QueueLoad;
  /** Calls a function with the seconds that each task has waited, as it begins. Replaces an earlier function. */
  observeWaits(observer: (seconds: number) => void): void;
}

/**
 * Creates a limiter.
 * @param concurrency tasks that run at once.
 * @param queue tasks that may wait.
 */
export function createLimiter(concurrency: number, queue: number): Limiter {
  /** By client, its tasks, oldest first. The client whose turn comes next is first. */
  const byClient = new Map<string, Waiting[]>();
  let [running, waiting] = [0, 0];
  let taskMs = 250; // moving average, for Retry-After
  let observer: ((seconds: number) => void) | undefined;

  const full = () => new PasswordQueueFull(Math.max(1, Math.ceil((waiting / concurrency) * (taskMs / 1000))));

  /** Hands the free place to the client whose turn it is. Tasks of clients that have gone are dropped. */
  function startNext(): void {
    for (const [client, tasks] of byClient) {
      byClient.delete(client); // and in again at the end
      while (tasks.length > 0) {
        const next = tasks.shift()!;
        waiting--;
        if (next.isGone?.() === true) {
          next.refuse(new ClientGone());
          continue;
        }
        if (tasks.length > 0) byClient.set(client, tasks);
        return next.start();
      }
    }
    running--;
  }

  /** Drops every waiting task whose client has gone. */
  function dropGone(): void {
    for (const [client, tasks] of byClient) {
      const present = tasks.filter((each) => {
        const isGone = each.isGone?.() === true;
        if (isGone) each.refuse(new ClientGone());
        return !isGone;
      });
      waiting -= tasks.length - present.length;
      if (present.length === 0) byClient.delete(client);
      else byClient.set(client, present);
    }
  }

  /** Makes a place free for a client: first those of clients that have gone, then one of the client that has the most. */
  function makeRoom(client: string): void {
    dropGone();
    if (waiting < queue) return;
    let [greedy, most]: [string | undefined, Waiting[]] = [undefined, []];
    for (const [name, tasks] of byClient) if (tasks.length > most.length) [greedy, most] = [name, tasks];
    if (greedy === undefined || most.length <= (byClient.get(client)?.length ?? 0) + 1) throw full();
    most.pop()!.refuse(full());
    waiting--;
  }

  const turn = (caller: Caller): Promise<void> =>
    new Promise((resolve, reject) => {
      const client = caller.client ?? "";
      if (waiting >= queue) makeRoom(client);
      const tasks = byClient.get(client) ?? [];
      tasks.push({ client, isGone: () => caller.isGone?.() === true, start: resolve, refuse: reject });
      byClient.set(client, tasks);
      waiting++;
    });

  return {
    async run(task, caller = {}) {
      if (caller.isGone?.() === true) throw new ClientGone();
      if (running >= concurrency) {
        const since = performance.now();
        await turn(caller); // the task that ends hands over its place
        observer?.((performance.now() - since) / 1000);
      } else {
        running++;
        observer?.(0);
      }
      const start = performance.now();
      try {
        return await task();
      } finally {
        taskMs += (performance.now() - start - taskMs) / 8;
        startNext();
      }
    },
    load: () => ({ running, waiting, queue }),
    observeWaits: (given) => void (observer = given),
  };
}
