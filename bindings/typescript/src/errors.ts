/** What to do about a failure. The same words in every language. */
export type ErrorCode =
  | "invalid_argument"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "unauthenticated"
  | "resource_exhausted"
  | "failed_precondition"
  | "unavailable"
  | "deadline_exceeded"
  | "cancelled"
  | "unsupported"
  | "protocol"
  | "corrupt"
  | "internal";

/** Whether doing the same again can help. */
export type Retry = "never" | "now" | "after_backoff";

/** What a SandboxError knows besides its code and message. */
export interface ErrorDetails {
  /** The dotted step that failed, "native.mount"; empty when there is no more to say. */
  operation?: string;
  /** errno of the system call that failed; 0: none did. */
  errno?: number;
  retry?: Retry;
}

/** Every failure of this package. Catch the subclass you can do something about, or look at `code`. */
export class SandboxError extends Error {
  readonly code: ErrorCode;
  /** The dotted step that failed, "native.mount", or empty. */
  readonly operation: string;
  /** errno of the system call that failed, or 0. */
  readonly errno: number;
  readonly retry: Retry;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.operation = details.operation ?? "";
    this.errno = details.errno ?? 0;
    this.retry = details.retry ?? "never";
  }
}

/** The subclass of one code; the second argument may be just the operation. */
function subclass(code: ErrorCode) {
  return class extends SandboxError {
    constructor(message: string, details: ErrorDetails | string = {}) {
      super(code, message, typeof details === "string" ? { operation: details } : details);
    }
  };
}

/** The call itself is wrong: fix it. Also what values of a wrong type get. */
export class InvalidArgumentError extends subclass("invalid_argument") {}
/** A file, program, sandbox, template, profile or helper is not there. */
export class NotFoundError extends subclass("not_found") {}
/** It is there already, and the call asked that it be not. */
export class AlreadyExistsError extends subclass("already_exists") {}
/** The kernel, or the policy of the daemon, says no. */
export class PermissionDeniedError extends subclass("permission_denied") {}
/** Who calls, or who answers, could not prove who they are. */
export class UnauthenticatedError extends subclass("unauthenticated") {}
/** A limit, a quota or the host is full. */
export class ResourceExhaustedError extends subclass("resource_exhausted") {}
/** The right call in the wrong state: closed, paused, no such kernel feature. */
export class FailedPreconditionError extends subclass("failed_precondition") {}
/** The other side is gone, or not up yet. */
export class UnavailableError extends subclass("unavailable") {}
/** A time of the call was over first. That of a command is no error: `cause` is "timed_out". */
export class DeadlineExceededError extends subclass("deadline_exceeded") {}
/** Ended by somebody else: its object was closed. An aborted call is rejected with the reason of its signal. */
export class CancelledError extends subclass("cancelled") {}
/** This host or daemon cannot do it. */
export class UnsupportedError extends subclass("unsupported") {}
/** The other side said something that the protocol does not allow. */
export class ProtocolError extends subclass("protocol") {}
/** Data is not what its writer says it was. */
export class CorruptError extends subclass("corrupt") {}
/** A bug of the library; please report it. */
export class InternalError extends subclass("internal") {}

/** Position: the number of the code in the C interface, less one. */
const classes = [
  InvalidArgumentError,
  NotFoundError,
  AlreadyExistsError,
  PermissionDeniedError,
  UnauthenticatedError,
  ResourceExhaustedError,
  FailedPreconditionError,
  UnavailableError,
  DeadlineExceededError,
  CancelledError,
  UnsupportedError,
  ProtocolError,
  CorruptError,
  InternalError,
] as const;

/** @internal */
export function errorOf(code: number, message: string, details: ErrorDetails): SandboxError {
  const Class = classes[code - 1] ?? InternalError;
  return new Class(message, details);
}
