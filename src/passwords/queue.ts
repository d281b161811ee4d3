/** Limits how many passwords are hashed at once and how many callers wait. */

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

/**
 * Returns a function that runs tasks, first come first served.
 * @param concurrency tasks that run at once.
 * @param queue tasks that may wait.
 * @throws {PasswordQueueFull} from the returned function, when the queue is full.
 */
export function createLimiter(concurrency: number, queue: number) {
  const waiting: (() => void)[] = [];
  let running = 0;
  let taskMs = 250; // moving average, for Retry-After
  return async <T>(task: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) {
      if (waiting.length >= queue) {
        throw new PasswordQueueFull(Math.max(1, Math.ceil((waiting.length / concurrency) * (taskMs / 1000))));
      }
      await new Promise<void>((resolve) => waiting.push(resolve)); // the task that ends hands over its place
    } else running++;
    const start = performance.now();
    try {
      return await task();
    } finally {
      taskMs += (performance.now() - start - taskMs) / 8;
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}
