/** Where the runtime keeps what it knows of running containers. */
export const STATE_ROOT = process.env['GANTRY_STATE_ROOT'] || '/run/gantry-runtime'
