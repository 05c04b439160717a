// The kernel's filter machine, as far as seccomp programs use it: evaluates a program over one system call.
export interface Instruction {
  readonly code: number
  readonly yes: number
  readonly no: number
  readonly operand: number
}

export interface SystemCall {
  readonly audit: number
  readonly number: number
  readonly args: readonly bigint[]
}

export const parseProgram = (text: string): readonly Instruction[] =>
  text
    .trim()
    .split('\n')
    .map((line) => {
      const [code = 0, yes = 0, no = 0, operand = 0] = line.split(' ').map(Number)
      return { code, yes, no, operand }
    })

const LOAD_WORD = 0x20
const AND = 0x54
const JUMP = 0x05
const JUMP_IF_EQUAL = 0x15
const JUMP_IF_GREATER = 0x25
const JUMP_IF_NOT_LESS = 0x35
const RETURN = 0x06

/** What the filter answers. Throws for anything that the kernel's checker would refuse. */
export function evaluate(program: readonly Instruction[], call: SystemCall): number {
  const data = new DataView(new ArrayBuffer(64))
  data.setUint32(0, call.number, true)
  data.setUint32(4, call.audit, true)
  call.args.forEach((value, i) => {
    data.setBigUint64(16 + 8 * i, value, true)
  })
  let accumulator = 0
  for (let at = 0; ; at += 1) {
    const each = program[at]
    if (each === undefined) throw new Error(`the program has no instruction ${at}`)
    const { code, yes, no, operand } = each
    if (code === LOAD_WORD) accumulator = data.getUint32(operand, true)
    else if (code === AND) accumulator = (accumulator & operand) >>> 0
    else if (code === JUMP) at += operand
    else if (code === JUMP_IF_EQUAL) at += accumulator === operand ? yes : no
    else if (code === JUMP_IF_GREATER) at += accumulator > operand ? yes : no
    else if (code === JUMP_IF_NOT_LESS) at += accumulator >= operand ? yes : no
    else if (code === RETURN) return operand
    else throw new Error(`no seccomp program has instruction ${code}`)
  }
}
