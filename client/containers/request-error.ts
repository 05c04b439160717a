/** The request makes no sense, or not for this image; the message says what would. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  /** Docker's. */
  readonly exitCode: number

  constructor(message: string, exitCode = 125, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}
